/* A libcuda.so.1 that says what FAKE_CUDA tells it to: "INIT DRIVER COUNT MODE NAME", such as
 * "0 13000 2 0 NVIDIA H200". Of CUDA_VISIBLE_DEVICES it knows that "" and "-1" leave nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int init, driver, count, mode;
static char name[200];

static void read_script(void) {
    const char *script = getenv("FAKE_CUDA"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!script || sscanf(script, "%d %d %d %d %199[^\n]", &init, &driver, &count, &mode, name) != 5) abort();
    if (visible && (!*visible || *visible == '-')) count = 0;
}
int cuDriverGetVersion(int *version) { read_script(); *version = driver; return 0; }
int cuInit(unsigned flags) { read_script(); return init ? init : count ? flags : 100; }
int cuDeviceGetCount(int *found) { *found = count; return 0; }
int cuDeviceGet(int *device, int place) { *device = place; return 0; }
int cuDeviceGetName(char *text, int size, int device) { (void)device; return snprintf(text, size, "%s", name) < 0; }
int cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, 0, 16); uuid[15] = (char)(device + 1); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = 150000000000; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    *value = which == 75 ? 9 : which == 76 ? 0 : which == 20 ? mode : -1;
    return 0;
}
