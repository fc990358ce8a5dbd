"""NVML's return codes: which are for ever, which mean a lost GPU, and what to do about each. Pure.

Numbers, not pynvml's names, so that an older pynvml still loads (nvml.h, `nvmlReturn_t`).
"""

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 2, 3, 4, 6
DRIVER_NOT_LOADED, TIMEOUT, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 10, 12, 13
GPU_IS_LOST, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH = 15, 16, 18
ARGUMENT_VERSION_MISMATCH, DEPRECATED, GPU_NOT_FOUND = 25, 26, 28

OLD_DRIVER = {FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH, DEPRECATED}
NEVER = {INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION} | OLD_DRIVER  # asking again is no help
LOST = {GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND}
NO_GPU = {DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, GPU_NOT_FOUND}  # the normal case without a GPU

UPDATE = "the NVIDIA driver is too old: update it"
ACCESS = (
    "this user may not use the GPU: check the access rights of /dev/nvidia*, and that the "
    "container was started with its GPUs"
)
INIT_REMEDIES = {
    LIB_RM_VERSION_MISMATCH: "the kernel module and the NVIDIA library are of different versions, "
    "as after an update: restart the machine (or the container)",
    NO_PERMISSION: ACCESS,
    FUNCTION_NOT_FOUND: UPDATE,
}
ABSENT = {
    DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: install it, or load its module "
    "(nvidia-smi does); in a container, start it with the GPUs (docker run --gpus all)",
    LIBRARY_NOT_FOUND: "there is no libnvidia-ml.so.1: install the NVIDIA driver; in a container, "
    "start it with the GPUs (docker run --gpus all)",
    GPU_NOT_FOUND: "the driver shows no GPU: see nvidia-smi; in a container, start it with the "
    "GPUs (docker run --gpus all)",
}


def why_not(code: int) -> str:
    """Why a GPU cannot tell a reading, from the code of its first answer, and the remedy if any."""
    if code in OLD_DRIVER:
        return f"driver too old for this call (NVML code {code}): update the NVIDIA driver"
    if code == NO_PERMISSION:
        return (
            "no permission: run as root, or load the driver's module with "
            "NVreg_RestrictProfilingToAdminUsers=0"
        )
    return "this GPU does not have it"
