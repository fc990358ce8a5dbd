/* A libamd_smi.so that says what a script tells it to, for driving the real amdsmi without a GPU.
 *
 * Keys beside those of fake_script.h, and what is said without them:
 *   - gpus N (1)               - init CODE (0): what amdsmi_init returns
 *   name, uuid, driver
 *   current_w, average_w (750, none), energy_steps (0: at the start; grows by current_w), step_uj (15.259)
 *   gfx_pct (97), vram_total, vram_used (bytes), gfx_mhz (2100), mem_mhz (1300)
 *   edge_c (none: as on an Instinct), hotspot_c (61), vram_c (55), cap_uw (750000000)
 * A value of -1 is one that the GPU does not have. Every function that is not here returns
 * AMDSMI_STATUS_NOT_SUPPORTED (see fake_libraries.py). Structures are those of amdsmi.h, ROCm 7.0.
 */
#include <stddef.h>
#include <stdint.h>

#include "fake_script.h"

enum { SUCCESS = 0, INVAL = 1, NOT_SUPPORTED = 2, NOT_FOUND = 31 };

typedef struct {
    uint64_t socket;
    uint32_t current, average;
    uint64_t gfx_mv, soc_mv, mem_mv;
    uint32_t limit;
    uint64_t reserved[18];
} power_info_t;
typedef struct { uint32_t gfx, umc, mm, reserved[13]; } engine_usage_t;
typedef struct { uint32_t clk, min, max; uint8_t locked, deep_sleep; uint32_t reserved[4]; } clk_info_t;
typedef struct { uint64_t cap, standard, dpm, min, max, reserved[3]; } power_cap_info_t;
typedef struct { char version[256], date[256], name[256]; } driver_info_t;
typedef struct {
    char market_name[256];
    uint32_t vendor_id;
    char vendor_name[256];
    uint32_t subvendor_id;
    uint64_t device_id;
    uint32_t rev_id;
    char serial[256];
    uint32_t oam_id, units;
    uint64_t gfx_version;
    uint32_t subsystem_id, reserved[21];
} asic_info_t;

/* Handles: GPU i is i + 1, for 0 is none; there is one socket a GPU. */
static int of(void *handle) { return (int)(intptr_t)handle - 1; }
static int gpu_count(void) { return (int)number(-1, "gpus", 1); }
#define CHECK(call) { int code = code_of(of(h), call, NOT_FOUND); if (code) return code; }
#define TOLD(type, key, otherwise) (number(of(h), key, otherwise) < 0 ? (type)-1 : (type)number(of(h), key, otherwise))

API int amdsmi_init(uint64_t flags) {
    if (flags != 2) return INVAL; /* AMDSMI_INIT_AMD_GPUS */
    read_script("FAKE_AMDSMI_SCRIPT");
    return (int)number(-1, "init", 0);
}
API int amdsmi_shut_down(void) { return SUCCESS; }
API int amdsmi_get_socket_handles(uint32_t *count, void **handles) {
    if (!handles) { *count = gpu_count(); return SUCCESS; }
    for (uint32_t i = 0; i < *count; i++) handles[i] = (void *)(intptr_t)(i + 1);
    return SUCCESS;
}
API int amdsmi_get_processor_handles(void *socket, uint32_t *count, void **handles) {
    *count = 1;
    if (handles) handles[0] = socket;
    return SUCCESS;
}
API int amdsmi_get_gpu_device_uuid(void *h, uint32_t *size, char *uuid) {
    CHECK("uuid")
    char usual[64];
    snprintf(usual, sizeof usual, "%02xff74a1-0000-1000-8000-000000000000", of(h));
    snprintf(uuid, *size, "%s", text(of(h), "uuid", usual));
    return SUCCESS;
}
API int amdsmi_get_gpu_asic_info(void *h, asic_info_t *info) {
    CHECK("asic")
    memset(info, 0, sizeof *info);
    snprintf(info->market_name, sizeof info->market_name, "%s", text(of(h), "name", "AMD Instinct FAKE"));
    strcpy(info->serial, "1234abcd");
    return SUCCESS;
}
API int amdsmi_get_gpu_driver_info(void *h, driver_info_t *info) {
    CHECK("driver")
    memset(info, 0, sizeof *info);
    snprintf(info->version, sizeof info->version, "%s", text(of(h), "driver", "6.14.fake"));
    return SUCCESS;
}
API int amdsmi_get_power_cap_info(void *h, uint32_t sensor, power_cap_info_t *info) {
    CHECK("cap")
    if (sensor) return INVAL;
    memset(info, 0, sizeof *info);
    info->cap = TOLD(uint64_t, "cap_uw", 750e6);
    return SUCCESS;
}
API int amdsmi_get_power_info(void *h, power_info_t *info) {
    CHECK("power")
    memset(info, 0xff, sizeof *info);
    info->current = number(of(h), "current_w", 750) < 0 ? 0xFFFF : TOLD(uint32_t, "current_w", 750);
    info->average = number(of(h), "average_w", -1) < 0 ? 0xFFFF : TOLD(uint32_t, "average_w", -1);
    return SUCCESS;
}
API int amdsmi_get_energy_count(void *h, uint64_t *steps, float *step_uj, uint64_t *timestamp_ns) {
    CHECK("energy")
    *step_uj = number(of(h), "step_uj", 15.259);
    double spent_uj = 1e6 * number(of(h), "current_w", 750) * now_s();
    *steps = number(of(h), "energy_steps", 0) + (*step_uj > 0 ? spent_uj / *step_uj : 0);
    *timestamp_ns = 1e9 * now_s();
    return SUCCESS;
}
API int amdsmi_get_gpu_activity(void *h, engine_usage_t *usage) {
    CHECK("activity")
    memset(usage, 0xff, sizeof *usage);
    usage->gfx = number(of(h), "gfx_pct", 97) < 0 ? 0xFFFF : TOLD(uint32_t, "gfx_pct", 97);
    usage->umc = 41;
    return SUCCESS;
}
API int amdsmi_get_gpu_memory_total(void *h, int type, uint64_t *bytes) {
    CHECK("memory_total")
    if (type) return INVAL; /* AMDSMI_MEM_TYPE_VRAM */
    *bytes = number(of(h), "vram_total", 206141652992.0);
    return SUCCESS;
}
API int amdsmi_get_gpu_memory_usage(void *h, int type, uint64_t *bytes) {
    CHECK("memory")
    if (type) return INVAL;
    *bytes = number(of(h), "vram_used", 1 << 30);
    return SUCCESS;
}
API int amdsmi_get_clock_info(void *h, int type, clk_info_t *info) {
    CHECK(type == 0 ? "gfx_clock" : "mem_clock")
    memset(info, 0xff, sizeof *info);
    if (type == 0) info->clk = TOLD(uint32_t, "gfx_mhz", 2100);      /* AMDSMI_CLK_TYPE_GFX */
    else if (type == 4) info->clk = TOLD(uint32_t, "mem_mhz", 1300); /* AMDSMI_CLK_TYPE_MEM */
    else return INVAL;
    return SUCCESS;
}
API int amdsmi_get_temp_metric(void *h, int sensor, int metric, int64_t *celsius) {
    CHECK("temperature")
    if (metric) return INVAL; /* AMDSMI_TEMP_CURRENT */
    static const char *keys[] = {"edge_c", "hotspot_c", "vram_c"};
    static const double usual[] = {-1, 61, 55};
    if (sensor < 0 || sensor > 2) return INVAL;
    *celsius = (int64_t)number(of(h), keys[sensor], usual[sensor]);
    return *celsius < 0 ? NOT_SUPPORTED : SUCCESS;
}
API void amdsmi_free_name_value_pairs(void *pairs) { (void)pairs; }

/* For the tests: how large structures are here, by the wrapper's names of them. */
API size_t fake_size(const char *name) {
#define SIZE(type) if (!strcmp(name, "amdsmi_" #type)) return sizeof(type);
    SIZE(power_info_t) SIZE(engine_usage_t) SIZE(clk_info_t) SIZE(power_cap_info_t)
    SIZE(driver_info_t) SIZE(asic_info_t)
    return 0;
}
