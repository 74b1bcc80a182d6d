// What NVML tells on a machine with two NVIDIA GPUs: stands in for the driver's library where there is none.
// GPU n has 40 + 10 n degrees, 100 (n + 1) W and 30 (n + 1) % utilisation, GPU_MODELS names the models, separated by
// commas, and GPU n runs the process whose id stands in the file n of the folder GPU_PROCESSES, with 1 GiB (n + 1).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned number; } Gpu;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long bytes; unsigned instance, compute; } Process;

static Gpu gpus[2] = {{0}, {1}};
static const char *const UUIDS[2] = {"GPU-11aa0000-0000-0000-0000-000000000000", "GPU-11bb0000-0000-0000-0000-000000000000"};
static const unsigned long long GIB = 1ULL << 30;
enum { INSUFFICIENT_SIZE = 7 };

static unsigned process_of(const Gpu *gpu) {
    char path[4096];
    unsigned pid = 0;
    snprintf(path, sizeof path, "%s/%u", getenv("GPU_PROCESSES"), gpu->number);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%u", &pid) != 1) pid = 0;
        fclose(file);
    }
    return pid;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **gpu) { *gpu = &gpus[index]; return 0; }
int nvmlDeviceGetUUID(Gpu *gpu, char *uuid, unsigned size) { snprintf(uuid, size, "%s", UUIDS[gpu->number]); return 0; }
int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *celsius) { (void)sensor; *celsius = 40 + 10 * gpu->number; return 0; }
int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *milliwatt) { *milliwatt = 100000 * (gpu->number + 1); return 0; }
int nvmlDeviceGetUtilizationRates(Gpu *gpu, unsigned percent[2]) { percent[0] = 30 * (gpu->number + 1); percent[1] = 0; return 0; }

int nvmlDeviceGetName(Gpu *gpu, char *name, unsigned size) {
    char models[256];
    snprintf(models, sizeof models, "%s", getenv("GPU_MODELS"));
    char *model = strtok(models, ",");
    if (gpu->number) model = strtok(NULL, ",");
    snprintf(name, size, "%s", model);
    return 0;
}

int nvmlDeviceGetMemoryInfo(Gpu *gpu, Memory *memory) {
    memory->total = 80 * GIB;
    memory->used = process_of(gpu) ? (gpu->number + 1) * GIB : 0;
    memory->free = memory->total - memory->used;
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Process *processes) {
    unsigned pid = process_of(gpu);
    if (!pid) { *count = 0; return 0; }
    if (!processes || !*count) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    processes[0] = (Process){pid, (gpu->number + 1) * GIB, 0, 0};
    return 0;
}
