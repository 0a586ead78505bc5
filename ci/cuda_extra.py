"""Print which CUDA extra of xpnn fits this machine's driver and GPU: cuda12 or cuda13.

It asks the driver itself, so it needs no package and no other program.
"""

from __future__ import annotations

import ctypes
import sys

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76


def call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a function of the driver, and end the program if it fails."""
    status = getattr(driver, function)(*arguments)
    if status != 0:
        sys.exit(f"the NVIDIA driver's {function} failed with CUDA error {status}")


def attribute(driver: ctypes.CDLL, number: int) -> int:
    """Read an attribute of the first device."""
    value = ctypes.c_int()
    call(driver, "cuDeviceGetAttribute", ctypes.byref(value), number, 0)
    return value.value


def main() -> None:
    """Print the extra, or end with one line that says what is wrong."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        sys.exit(f"no NVIDIA driver: {error}")
    call(driver, "cuInit", 0)
    version = ctypes.c_int()
    call(driver, "cuDriverGetVersion", ctypes.byref(version))
    count = ctypes.c_int()
    call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        sys.exit("the NVIDIA driver sees no GPU")
    capability = (
        attribute(driver, COMPUTE_CAPABILITY_MAJOR),
        attribute(driver, COMPUTE_CAPABILITY_MINOR),
    )
    cuda = version.value // 1000
    if cuda < 12:
        sys.exit(f"the NVIDIA driver is for CUDA {cuda}: CuPy 14 needs one for CUDA 12 or later")
    # CUDA 13 compiles for compute capability 7.5 and up; CUDA 12 also for older GPUs.
    print("cuda13" if cuda >= 13 and capability >= (7, 5) else "cuda12")


if __name__ == "__main__":
    main()
