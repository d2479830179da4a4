/* A stand-in for the NVIDIA driver's libnvidia-ml.so.1, for machines without a card.
 *
 * It exports the symbols that nvidia-ml-py calls. The environment variable TUI_LORA_STUB, read at
 * every call, says how it behaves:
 *   one             a Tesla T4; two processes compute on it: the caller, and one unknown here
 *   four            four RTX A4000, each with other values; nothing computes on them
 *   no_permission   a card that names itself and refuses everything else (a MIG parent)
 *   not_supported   as `one`, but no load, power or processes (WSL, some laptops)
 *   fails_to_start  the driver was upgraded without a reboot
 *   gone            starts, and then fails to count its cards
 *   lost            two cards, of which the second has fallen off the bus
 *   old_driver      as `one`, without the calls that newer drivers added
 *   unified         as `one`, but with memory shared with the machine
 *   hostile_name    as `one`, with control characters in the name
 *   mig             two A100: the first is split into two slices, in places 0 and 2; it refuses to
 *                   tell its own memory and load. The second is whole
 *   mig_empty       an A100 with MIG on that nobody has split yet
 *   falls_silent    as `one`, but every question about the card is answered by "lost"
 *   drawing         as `one`, and process 1 draws on it, as does the caller
 *   hangs           as `one`, but no question about memory is answered until this changes
 *
 * TUI_LORA_STUB_GIB is the size of the T4, and TUI_LORA_STUB_USED_GIB what programs hold of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    FUNCTION_NOT_FOUND = 13,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    ARGUMENT_VERSION_MISMATCH = 25,
    UNKNOWN = 999,
};

typedef unsigned long long bytes_t;
#define MIB (1ULL << 20)
#define NOT_AVAILABLE (~0ULL)

typedef struct { bytes_t total, free, used; } memory_v1_t;
typedef struct { unsigned version; bytes_t total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned version, sensor; int celsius; } temperature_t;
typedef struct { unsigned pid; bytes_t used; unsigned gpu_instance, compute_instance; } process_t;

static int mode(const char *name) {
    const char *chosen = getenv("TUI_LORA_STUB");
    return strcmp(chosen ? chosen : "one", name) == 0;
}

static bytes_t gib(const char *name, double otherwise) {
    const char *given = getenv(name);
    return (bytes_t)((given ? atof(given) : otherwise) * 1024) * MIB;
}

/* A handle is the card's index + 1, so that none is NULL; a slice's has its place + 1 above. */
static unsigned index_of(void *card) { return ((unsigned)(size_t)card & 255) - 1; }
static unsigned slice_of(void *card) { return ((unsigned)(size_t)card >> 8) - 1; }
static int is_slice(void *card) { return (size_t)card >> 8 != 0; }
static int is_split(void *card) {
    return (mode("mig") && !is_slice(card) && index_of(card) == 0) || mode("mig_empty");
}

static int copy(char *to, unsigned size, const char *from) {
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

/* ---- the library ---- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return mode("fails_to_start") ? LIB_RM_VERSION_MISMATCH : SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int result) {
    (void)result;
    return "an error of the stub";
}

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    return copy(version, size, "580.82.07");
}

/* CUDA 13.0 */
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    if (mode("gone")) return UNKNOWN;
    *count = mode("four") ? 4 : mode("lost") || mode("mig") ? 2 : 1;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) {
    unsigned count = 0;
    if (nvmlDeviceGetCount_v2(&count) != SUCCESS || index >= count) return INVALID_ARGUMENT;
    if (mode("lost") && index == 1) return GPU_IS_LOST;
    *card = (void *)(size_t)(index + 1);
    return SUCCESS;
}

/* ---- one card ---- */

int nvmlDeviceGetName(void *card, char *name, unsigned size) {
    if (mode("falls_silent")) return GPU_IS_LOST;
    if (is_slice(card)) return copy(name, size, "NVIDIA A100-SXM4-40GB MIG 1g.5gb");
    if (mode("mig") || mode("mig_empty")) return copy(name, size, "NVIDIA A100-SXM4-40GB");
    if (mode("hostile_name")) return copy(name, size, "Tesla\x1b]0;owned\x07 T4\n");
    return copy(name, size, mode("four") ? "NVIDIA RTX A4000" : "Tesla T4");
}

int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) {
    (void)card;
    *major = mode("four") ? 8 : 7;
    *minor = mode("four") ? 6 : 5;
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *card, char *uuid, unsigned size) {
    char text[64];
    if (mode("falls_silent")) return GPU_IS_LOST;
    if (is_slice(card)) {
        snprintf(text, sizeof text, "MIG-00000000-0000-0000-0000-%012u", slice_of(card));
        return copy(uuid, size, text);
    }
    snprintf(text, sizeof text, "GPU-00000000-0000-0000-0000-%012u", index_of(card));
    return copy(uuid, size, text);
}

int nvmlDeviceGetMigMode(void *card, unsigned *current, unsigned *pending) {
    if (!mode("no_permission") && !mode("mig") && !mode("mig_empty")) return NOT_SUPPORTED;
    *current = *pending = mode("no_permission") || is_split(card);
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *card, unsigned *count) {
    (void)card;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *card, unsigned place, void **slice) {
    if (!mode("mig") || (place != 0 && place != 2)) return NOT_FOUND;
    *slice = (void *)((size_t)card | (size_t)(place + 1) << 8);
    return SUCCESS;
}

/* T4: 15 GiB, of which the driver keeps 0.25. A4000: 16 GiB, nothing kept. */
int nvmlDeviceGetMemoryInfo_v2(void *card, memory_v2_t *memory) {
    if (mode("no_permission")) return NO_PERMISSION;
    if (mode("unified")) return NOT_SUPPORTED;
    if (mode("old_driver")) return FUNCTION_NOT_FOUND;
    if (mode("falls_silent")) return GPU_IS_LOST;
    if (mode("mig") && is_split(card)) return NO_PERMISSION;
    while (mode("hangs")) usleep(5000);
    if (memory->version != (sizeof *memory | 2 << 24)) return ARGUMENT_VERSION_MISMATCH;
    memory->total = mode("four") ? 16384 * MIB : gib("TUI_LORA_STUB_GIB", 15);
    memory->reserved = mode("four") ? 0 : 256 * MIB;
    memory->used =
        mode("four") ? (index_of(card) + 1) * 1024 * MIB : gib("TUI_LORA_STUB_USED_GIB", 4);
    if (mode("mig")) {
        memory->total = is_slice(card) ? 4864 * MIB : 40960 * MIB;
        memory->reserved = 0;
        memory->used = is_slice(card) ? (slice_of(card) + 1) * 512 * MIB : 1024 * MIB;
    }
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *card, memory_v1_t *memory) {
    if (mode("no_permission") || (mode("mig") && is_split(card))) return NO_PERMISSION;
    if (mode("falls_silent")) return GPU_IS_LOST;
    if (mode("unified")) return NOT_SUPPORTED;
    memory->total = 15360 * MIB;
    memory->used = (256 + 4096) * MIB; /* v1 counts the driver's own part as used */
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *card, utilization_t *load) {
    if (mode("no_permission")) return NO_PERMISSION;
    if (mode("not_supported") || is_slice(card) || is_split(card)) return NOT_SUPPORTED;
    load->gpu = mode("four") ? index_of(card) * 10 : 37; /* the first of the four is idle */
    load->memory = 12;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *card, unsigned sensor, unsigned *celsius) {
    if (mode("no_permission")) return NO_PERMISSION;
    if (sensor != 0) return INVALID_ARGUMENT;
    *celsius = mode("four") ? 40 + index_of(card) : 61;
    return SUCCESS;
}

int nvmlDeviceGetTemperatureV(void *card, temperature_t *reading) {
    if (mode("old_driver")) return FUNCTION_NOT_FOUND;
    if (reading->version != (sizeof *reading | 1 << 24)) return ARGUMENT_VERSION_MISMATCH;
    unsigned celsius = 0;
    int result = nvmlDeviceGetTemperature(card, reading->sensor, &celsius);
    reading->celsius = (int)celsius;
    return result;
}

int nvmlDeviceGetPowerUsage(void *card, unsigned *milliwatts) {
    if (mode("no_permission")) return NO_PERMISSION;
    if (mode("not_supported")) return NOT_SUPPORTED;
    *milliwatts = mode("four") ? 50000 + 1000 * index_of(card) : 68500;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *card, unsigned *milliwatts) {
    (void)card;
    if (mode("no_permission")) return NO_PERMISSION;
    if (mode("not_supported")) return NOT_SUPPORTED;
    *milliwatts = mode("four") ? 140000 : 70000;
    return SUCCESS;
}

static int running(void *card, unsigned *room, process_t *processes) {
    if (mode("mig") && (!is_slice(card) || slice_of(card) != 0)) {
        *room = 0;
        return SUCCESS;
    }
    if (mode("no_permission")) return NO_PERMISSION;
    if (mode("not_supported")) return NOT_SUPPORTED;
    unsigned count = mode("four") ? 0 : 2;
    int fits = *room >= count;
    *room = count;
    if (!fits) return INSUFFICIENT_SIZE;
    if (count == 0) return SUCCESS;
    memset(processes, 0, count * sizeof *processes);
    processes[0].pid = (unsigned)getpid();
    processes[0].used = 3584 * MIB;
    processes[1].pid = 4194305; /* one more than the kernel's largest: nobody here has it */
    processes[1].used = NOT_AVAILABLE;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned *room, process_t *processes) {
    return mode("old_driver") ? FUNCTION_NOT_FOUND : running(card, room, processes);
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *card, unsigned *room, process_t *processes) {
    return running(card, room, processes);
}

/* The screen's, on the T4 alone; what computes may draw too. */
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *card, unsigned *room, process_t *processes) {
    (void)card;
    if (!mode("drawing")) return NOT_SUPPORTED;
    int fits = *room >= 2;
    *room = 2;
    if (!fits) return INSUFFICIENT_SIZE;
    memset(processes, 0, 2 * sizeof *processes);
    processes[0].pid = 1;
    processes[0].used = 300 * MIB;
    processes[1].pid = (unsigned)getpid();
    processes[1].used = 3584 * MIB;
    return SUCCESS;
}
