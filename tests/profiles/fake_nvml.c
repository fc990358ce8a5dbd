/* A libnvidia-ml.so.1 that says what a script tells it to, for driving the real pynvml without a GPU.
 *
 * The script's language is described in fake_nvml.h. Structures and versions are those of nvml.h; a
 * caller that passes another version gets NVML_ERROR_ARGUMENT_VERSION_MISMATCH, as from the driver.
 *
 * nvmlInit and nvmlShutdown count their calls, as the driver's do: a session lasts until the last
 * shutdown, and a handle until the end of its session.
 */
#include <stddef.h>

#include "fake_nvml.h"

#define API __attribute__((visibility("default")))
enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10, GPU_IS_LOST = 15, VERSION_MISMATCH = 25, UNINITIALIZED = 1
};
enum { VALUE_UINT = 1, VALUE_ULL = 3 };
enum { XID_EVENT = 8, CLOCK_SM = 1 };

typedef struct handle { struct gpu *gpu; int session; } *handle_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned version; int sensor; int temperature; } temperature_t;
typedef union {
    double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si;
    unsigned short us;
} value_t;
typedef struct {
    unsigned field, scope; long long timestamp_us, latency_us; int type, code; value_t value;
} field_t;
typedef struct {
    unsigned metric; int code; double value; struct { char *name, *longname, *unit; } info;
} gpm_metric_t;
typedef struct { double t_s; struct gpu *gpu; } gpm_look_t;
typedef struct { unsigned version, count; gpm_look_t *look1, *look2; gpm_metric_t metrics[1]; } gpm_t;
typedef struct { unsigned version, supported; } gpm_support_t;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { handle_t device; unsigned long long type, data; unsigned gpu_instance, compute_instance; } event_t;
#define MEMORY_V2 (sizeof(memory_v2_t) | 2u << 24)
#define TEMPERATURE_V1 (sizeof(temperature_t) | 1u << 24)


/* Whether it is from `after` on, and not back by `seen`; -1 is never. */
static int lost(double after, double back, double now, double seen) {
    return after >= 0 && now >= after && (back < 0 || seen < back);
}
/* What `call` returns for this GPU now. */
static int code_of(struct gpu *g, const char *call) {
    double t_s = now_s();
    int code = SUCCESS;
    if (!inits) return UNINITIALIZED;
    age(g);
    if (lost(g->lost_after_s, g->back_after_s, t_s, g->lost_for_session ? session_s : t_s)) return GPU_IS_LOST;
    g->asked++;
    if (lost(g->lost_after_calls, g->back_after_calls, g->asked,
             g->lost_for_session ? g->asked_before_session : g->asked)) return GPU_IS_LOST;
    for (int i = 0; i < g->error_count; i++)
        if (!strcmp(g->errors[i].call, call)) {
            nap(g->errors[i].s);
            code = g->errors[i].s > 0 ? code : g->errors[i].code; /* the last word counts */
        }
    return code;
}
#define CHECK_GPU(g, call) { int code = code_of(g, call); if (code) return code; }
/* The GPU of a handle, as `g`. */
#define OF(h) struct gpu *g = (h)->gpu; if ((h)->session != session) return INVALID_ARGUMENT;
#define CHECK(h, call) OF(h) CHECK_GPU(g, call)

static handle_t handle_of(struct gpu *g) {
    static struct handle made[1024];
    static int count;
    for (int i = 0; i < count; i++)
        if (made[i].gpu == g && made[i].session == session) return &made[i];
    if (count == 1024) abort();
    made[count] = (struct handle){g, session};
    return &made[count++];
}

API int nvmlInitWithFlags(unsigned flags) {
    static int was_read;
    (void)flags;
    if (!was_read) read_script();
    was_read = 1;
    if (init_code) return init_code;
    if (session && init_fails_times) { init_fails_times--; return init_fails_code; }
    if (inits++) return SUCCESS;
    session++;
    session_s = now_s();
    for (int i = 0; i < MAX_GPUS; i++) gpus[i].asked_before_session = gpus[i].asked;
    return SUCCESS;
}
API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlShutdown(void) {
    if (!inits) return UNINITIALIZED;
    inits--;
    return SUCCESS;
}
API const char *nvmlErrorString(int code) { (void)code; return "Fake Error"; }
API int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "%s", driver); return SUCCESS; }
API int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda_version; return SUCCESS; }
API int nvmlDeviceGetCount_v2(unsigned *count) { *count = gpu_count; return SUCCESS; }
API int nvmlDeviceGetHandleByIndex_v2(unsigned i, handle_t *handle) {
    if ((int)i >= gpu_count) return INVALID_ARGUMENT;
    CHECK_GPU(&gpus[i], "handle")
    *handle = handle_of(&gpus[i]);
    return SUCCESS;
}
API int nvmlDeviceGetHandleByUUID(const char *uuid, handle_t *handle) {
    if (!inits) return UNINITIALIZED;
    for (int i = 0; i < gpu_count; i++) {
        struct gpu *g = !strcmp(uuid, gpus[i].uuid) ? &gpus[i] : NULL;
        for (int j = 0; j < gpus[i].mig_count; j++)
            if (!strcmp(uuid, mig[i][j].uuid)) g = &mig[i][j];
        if (!g) continue;
        CHECK_GPU(g, "handle")
        *handle = handle_of(g);
        return SUCCESS;
    }
    return NOT_FOUND;
}
API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle_t h, handle_t *parent) {
    OF(h)
    if (!g->parent) return INVALID_ARGUMENT;
    *parent = handle_of(g->parent);
    return SUCCESS;
}
API int nvmlDeviceGetIndex(handle_t h, unsigned *index) { OF(h) *index = (unsigned)(g - gpus); return SUCCESS; }
API int nvmlDeviceGetName(handle_t h, char *text, unsigned size) {
    CHECK(h, "name")
    snprintf(text, size, "%s", g->name);
    return SUCCESS;
}
API int nvmlDeviceGetUUID(handle_t h, char *text, unsigned size) {
    CHECK(h, "uuid")
    snprintf(text, size, "%s", g->uuid);
    return SUCCESS;
}
API int nvmlDeviceGetEnforcedPowerLimit(handle_t h, unsigned *mw) { CHECK(h, "limit") *mw = g->limit_mw; return SUCCESS; }
API int nvmlDeviceGetPowerUsage(handle_t h, unsigned *mw) { CHECK(h, "power") *mw = power_at(g, now_s()); return SUCCESS; }
API int nvmlDeviceGetUtilizationRates(handle_t h, utilization_t *u) {
    CHECK(h, "util")
    u->gpu = g->util;
    u->memory = 41;
    return SUCCESS;
}
API int nvmlDeviceGetMemoryInfo(handle_t h, memory_t *m) {
    CHECK(h, "memory")
    m->total = g->mem_total;
    m->used = g->mem_used;
    m->free = m->total - m->used;
    return SUCCESS;
}
API int nvmlDeviceGetMemoryInfo_v2(handle_t h, memory_v2_t *m) {
    if (m->version != MEMORY_V2) return VERSION_MISMATCH;
    CHECK(h, "memory_v2")
    m->total = g->mem_total;
    m->used = g->mem_used;
    m->reserved = 12345;
    m->free = m->total - m->used - m->reserved;
    return SUCCESS;
}
API int nvmlDeviceGetClockInfo(handle_t h, int clock, unsigned *mhz) {
    CHECK(h, "clock")
    *mhz = clock == CLOCK_SM ? g->sm_mhz : g->mem_mhz;
    return SUCCESS;
}
API int nvmlDeviceGetTemperature(handle_t h, int sensor, unsigned *c) { (void)sensor; CHECK(h, "temp") *c = g->temp_c; return SUCCESS; }
API int nvmlDeviceGetTemperatureV(handle_t h, temperature_t *t) {
    if (t->version != TEMPERATURE_V1) return VERSION_MISMATCH;
    CHECK(h, "temp_v")
    t->temperature = g->temp_c;
    return SUCCESS;
}

API int nvmlDeviceGetFieldValues(handle_t h, int count, field_t *fields) {
    CHECK(h, "fields")
    g->calls++;
    nap(g->slow_s);
    for (int i = 0; i < count; i++) {
        field_t *f = &fields[i];
        char call[24];
        snprintf(call, sizeof call, "field:%u", f->field);
        double t_s = now_s();
        f->timestamp_us = (long long)(monotonic_s() * 1e6);
        f->type = VALUE_ULL;
        f->code = code_of(g, call);
        if (f->code) continue;
        switch (f->field) {
        case 83: f->value.ull = counter_at(g, t_s); break;
        case 185: case 186: case 82:
            f->type = VALUE_UINT;
            memset(&f->value, 0xff, sizeof f->value); /* only four bytes of the union count */
            f->value.ui = round(f->field == 82  ? g->mem_temp_c
                              : f->field == 186 ? power_at(g, t_s)
                              : t_s > 0         ? mean_power(g, t_s > 1 ? t_s - 1 : 0, t_s)
                                                : power_at(g, t_s));
            break;
        case 3: f->value.ull = g->ecc_corrected; break;
        case 4: f->value.ull = g->ecc_uncorrected; break;
        case 142: f->value.ull = g->rows_corrected; break;
        case 143: f->value.ull = g->rows_uncorrected; break;
        case 144: f->value.ull = g->rows_pending; break;
        case 145: f->value.ull = g->rows_failed; break;
        case 74: f->value.ull = g->throttle_power_ns + 1e9 * g->throttle_power_share * t_s; break;
        case 269: f->value.ull = g->throttle_thermal_ns; break;
        case 270: f->value.ull = g->throttle_hw_ns; break;
        case 271: f->value.ull = g->throttle_brake_ns; break;
        case 197: f->value.ull = g->pcie_tx; break;
        case 198: f->value.ull = g->pcie_rx; break;
        default: f->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

API int nvmlGpmQueryDeviceSupport(handle_t h, gpm_support_t *s) {
    CHECK(h, "gpm")
    if (s->version != 1) return VERSION_MISMATCH;
    s->supported = g->gpm != 0;
    return SUCCESS;
}
API int nvmlGpmSampleAlloc(gpm_look_t **look) { *look = calloc(1, sizeof **look); return SUCCESS; }
API int nvmlGpmSampleFree(gpm_look_t *look) { free(look); return SUCCESS; }
API int nvmlGpmSampleGet(handle_t h, gpm_look_t *look) {
    CHECK(h, "gpm_get")
    look->t_s = now_s();
    look->gpu = g;
    return SUCCESS;
}
API int nvmlGpmMigSampleGet(handle_t h, unsigned instance, gpm_look_t *look) {
    OF(h)
    for (int j = 0; j < g->mig_count; j++)
        if (mig[g - gpus][j].instance == instance) return nvmlGpmSampleGet(handle_of(&mig[g - gpus][j]), look);
    return INVALID_ARGUMENT;
}
/* No averages between looks that are not in order. */
API int nvmlGpmMetricsGet(gpm_t *q) {
    if (q->version != 1) return VERSION_MISMATCH;
    if (q->look1->gpu != q->look2->gpu || q->look2->t_s <= q->look1->t_s) return INVALID_ARGUMENT;
    struct gpu *g = q->look1->gpu;
    for (unsigned i = 0; i < q->count; i++) {
        gpm_metric_t *m = &q->metrics[i];
        m->code = SUCCESS;
        switch (m->metric) {
        case 2: m->value = g->gpm_sm; break;
        case 3: m->value = g->gpm_occupancy; break;
        case 5:
            m->value = g->gpm_tensor;
            if (g->gpm_follows_power)
                m->value = 100 * mean_power(g, q->look1->t_s, q->look2->t_s) / g->limit_mw;
            break;
        case 10: m->value = g->gpm_dram; break;
        default: m->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}

/* -- processes, MIG, events -------------------------------------------------------------------- */

API int nvmlDeviceGetComputeRunningProcesses_v3(handle_t h, unsigned *count, process_t *told) {
    CHECK(h, "processes")
    unsigned there = (unsigned)g->process_count, room = *count;
    *count = there;
    if (!there) return SUCCESS;
    if (room < there || !told) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < there; i++)
        told[i] = (process_t){g->processes[i].pid, g->processes[i].bytes, ~0u, ~0u};
    return SUCCESS;
}
API int nvmlDeviceGetMigMode(handle_t h, unsigned *now, unsigned *pending) {
    CHECK(h, "mig")
    *now = *pending = g->mig_count > 0;
    return SUCCESS;
}
API int nvmlDeviceGetMaxMigDeviceCount(handle_t h, unsigned *count) {
    (void)h;
    *count = MAX_MIG;
    return SUCCESS;
}
API int nvmlDeviceGetMigDeviceHandleByIndex(handle_t h, unsigned i, handle_t *handle) {
    OF(h)
    if ((int)i >= g->mig_count) return NOT_FOUND;
    *handle = handle_of(&mig[g - gpus][i]);
    return SUCCESS;
}
API int nvmlDeviceGetGpuInstanceId(handle_t h, unsigned *id) { OF(h) *id = g->instance; return SUCCESS; }
API int nvmlEventSetCreate(handle_t **set) { *set = calloc(MAX_GPUS + 1, sizeof **set); return SUCCESS; }
API int nvmlEventSetFree(handle_t *set) { free(set); return SUCCESS; }
API int nvmlDeviceRegisterEvents(handle_t h, unsigned long long types, handle_t *set) {
    CHECK(h, "events")
    if (types & ~(unsigned long long)XID_EVENT) return NOT_SUPPORTED;
    while (*set && *set != h) set++;
    *set = h;
    return SUCCESS;
}
/* The earliest XID of the set's GPUs that was not told yet, or none within the time. */
API int nvmlEventSetWait_v2(handle_t *set, event_t *event, unsigned timeout_ms) {
    if (!inits) return UNINITIALIZED;
    if (wait_code) return wait_code;
    double until_s = now_s() + 1e-3 * timeout_ms;
    struct gpu *whose = NULL;
    int which = 0;
    handle_t device = NULL;
    for (; *set; set++) {
        struct gpu *g = (*set)->gpu;
        for (int i = 0; i < g->xid_count; i++)
            if (!g->xids[i].told && (!whose || g->xids[i].t_s < whose->xids[which].t_s))
                device = *set, whose = g, which = i;
    }
    if (!whose || whose->xids[which].t_s > until_s) {
        nap(until_s - now_s());
        return TIMEOUT;
    }
    nap(whose->xids[which].t_s - now_s());
    whose->xids[which].told = 1;
    *event = (event_t){device, XID_EVENT, whose->xids[which].code, ~0u, ~0u};
    return SUCCESS;
}

/* For the tests: how often GPU i's field values were asked for, how many sessions there were, and how
 * large structures are here. */
API int fake_field_calls(int i) { return gpus[i].calls; }
API int fake_sessions(void) { return session; }
API size_t fake_size(const char *name) {
#define SIZE(type) if (!strcmp(name, #type)) return sizeof(type);
    SIZE(utilization_t) SIZE(memory_t) SIZE(memory_v2_t) SIZE(temperature_t) SIZE(value_t)
    SIZE(field_t) SIZE(gpm_metric_t) SIZE(gpm_support_t) SIZE(process_t) SIZE(event_t)
    if (!strcmp(name, "gpm_t.metrics")) return offsetof(gpm_t, metrics);
    return 0;
}
