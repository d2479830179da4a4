"""The Model screen's keys and what it says of itself."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from tui_lora.ui.widgets.table import Table


def _key(key: str, action: str, name: str, tip: str) -> Binding:
    return Binding(key, action, name, id=f"model.{action}", tooltip=tip)


HELP = (
    "The models on this machine: the Hugging Face cache, what tui-lora converted, the folder you "
    "are in and its models, and the folders and GGUF files that you named. Only headers are read. "
    "params counts weights, context is the longest text in tokens, chat says whether the model "
    "knows how turns are written, which rows of questions and answers need. ✗ cannot be trained, "
    "and the reason stands below; ! is worth a look; ↓ is not wholly here. h searches the Hub for "
    "models that write text; f fetches one in the background: safetensors, config and tokenizer, "
    "and Python of its own to be read. Leaving the screen does not stop a fetch. Leaving tui-lora "
    "does; what came is kept, and the next f goes on from there. Code of a model never runs unless "
    "you read it (v) and trust exactly that. How the model under the cursor fits the card is "
    "reckoned with the draft's other settings, and simulated when the cursor stays; of a model of "
    "the Hub, Enter asks for its sizes."
)

KEYS: list[BindingType] = [
    _key("v", "code", "its code", "read the code that comes with it; trust it, or not"),
    _key("h", "hub", "search the Hub", "search the Hub for models that write text"),
    _key("f", "fetch", "fetch", "fetch it from the Hub, or the rest of it"),
    _key("c", "stop", "stop it", "stop the search or the fetch; what came is kept"),
    _key("t", "type", "Hub id or path", "type a Hub id or a path"),
    _key("a", "add", "add folder", "look for models in one more folder"),
    _key("slash", "filter", "filter", "only names, kinds …"),
    _key("r", "rescan", "look again", "look through the disks again; search again"),
    _key("x", "forget", "forget folder", "look in its folder no more"),
    _key("escape", "back", "back", "back to all models on this machine"),
]


class ModelTable(Table):
    BINDINGS = [
        Binding("enter", "open", "choose", id="model.choose", tooltip="train this model"),
    ]


class HubTable(Table):
    BINDINGS = [
        Binding(
            "enter", "open", "look, fetch", id="model.look", tooltip="what it is; then fetch it"
        ),
        Binding("slash", "screen.hub", "", False, id="model.search", tooltip="search anew"),
    ]
