#!/usr/bin/env python3
"""Compiles the GPU engine's kernels with NVRTC, which needs no GPU, and prints registers and shared memory of each.

    pip install nvidia-cuda-nvrtc==13.0.*
    python scripts/compile_kernels.py

Each file of `src/model/gpu/kernels` is compiled behind the prelude for each architecture and both types of what products read;
attention in tiles for bfloat16 only, and for several widths of heads.
A line a kernel: registers (the most of all compilations), bytes of static shared memory, seconds that its file took. Exits with 1
where something does not compile, warns, or keeps registers in memory (spills).
"""

import argparse
import ctypes
import importlib.util
import pathlib
import re
import sys
import time

KERNELS = pathlib.Path(__file__).resolve().parent.parent / "src/model/gpu/kernels"
ARCHITECTURES = ["sm_80", "sm_90a"]
OPERANDS = {"f32": [], "bf16": ["-DOPERAND_BF16"]}
TILED = {f"bf16, heads of {width}": ["-DOPERAND_BF16", f"-DHEAD_WIDTH={width}"] for width in (16, 32, 64, 128)}


def folder_of_nvrtc():
    """Where the package `nvidia-cuda-nvrtc` has put the library."""
    for package, inside in [("nvidia.cu13", "lib"), ("nvidia.cuda_nvrtc", "lib")]:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            continue
        for place in (found.submodule_search_locations or []) if found else []:
            if list(pathlib.Path(place, inside).glob("libnvrtc.so.*")):
                return pathlib.Path(place, inside)
    sys.exit("NVRTC is not there: pip install nvidia-cuda-nvrtc==13.0.*")


class Compiler:
    """NVRTC."""

    def __init__(self, folder):
        # The library does not find its own builtins elsewhere than beside the program.
        builtins = [path for path in sorted(folder.glob("libnvrtc-builtins.so.*"))]
        ctypes.CDLL(str(builtins[0]), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(sorted(folder.glob("libnvrtc.so.*"))[0]))

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, name, text, options):
        """Whether it compiled, and what the compiler and assembler said."""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        encoded = [option.encode() for option in options]
        result = self.library.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return result == 0, log.value.decode()


def read_log(log):
    """For each kernel of the log: (registers, bytes of shared memory, bytes of spills)."""
    found, kernel, spills = {}, None, 0
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            kernel, spills = entry[1], 0
        elif spilled := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills = sum(int(bytes_) for bytes_ in spilled.groups())
        elif (used := re.search(r"Used (\d+) registers", line)) and kernel:
            shared = re.search(r"(\d+) bytes smem", line)
            found[kernel] = (int(used[1]), int(shared[1]) if shared else 0, spills)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libraries", type=pathlib.Path, help="folder of libnvrtc (default: that of the Python package)")
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES)
    arguments = parser.parse_args()
    compiler = Compiler(arguments.libraries or folder_of_nvrtc())
    print(f"NVRTC {compiler.version()} for {', '.join(arguments.architectures)}, products read {' and '.join(OPERANDS)}")
    prelude = (KERNELS / "prelude.cu").read_text()
    faults = []
    for path in sorted(KERNELS.glob("*.cu")):
        if path.name == "prelude.cu":
            continue
        text, kernels, began = prelude + path.read_text(), {}, time.perf_counter()
        declared = set(re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(', text))
        for architecture in arguments.architectures:
            for operand, definitions in (TILED if "HEAD_WIDTH" in text else OPERANDS).items():
                options = [f"--gpu-architecture={architecture}", "-std=c++17", "--ptxas-options=-v", *definitions]
                compiled, log = compiler.compile(path.name, text, options)
                where = f"{path.name} for {architecture}, {operand}"
                if not compiled or re.search(r"\bwarning\b", log):
                    faults.append(f"{where}:\n{log}")
                    continue
                found = read_log(log)
                faults += [f"{where}: nothing is said of `{kernel}`" for kernel in sorted(declared - found.keys())]
                for kernel, (registers, shared, spills) in found.items():
                    if spills:
                        faults.append(f"{where}: `{kernel}` keeps {spills} bytes of registers in memory")
                    most = kernels.get(kernel, (0, 0))
                    kernels[kernel] = (max(most[0], registers), max(most[1], shared))
        seconds = time.perf_counter() - began
        for kernel, (registers, shared) in kernels.items():
            print(f"{path.name:18} {kernel:26} {registers:4} registers {shared:6} bytes shared {seconds:6.2f} s")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
