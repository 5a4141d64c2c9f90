"""NVIDIA's driver, NVRTC and cublasLt through ctypes, for check_gpu.py: products and kernels on a GPU without Votive.

Also works with the stand-ins of tests/host_gpu, which have the same functions.
"""

import ctypes
import glob
import os
import pathlib
import sys
import zipfile

import numpy

F32, BF16 = 0, 14  # CUDA_R_32F, CUDA_R_16BF
COMPUTE_F32, COMPUTE_TF32 = 68, 77  # CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32
WORKSPACE = 32 << 20
CHOICES = 8


def library_folders(given=None):
    """Where the libraries may lie: the folder given, the loader's path, this Python's packages, toolkits."""
    folders = [given] if given else []
    folders += [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for place in sys.path:
        folders += sorted(glob.glob(f"{place}/nvidia/*/lib"))
    return folders + ["/usr/local/cuda/lib64"] + sorted(glob.glob("/usr/local/cuda-*/lib64"), reverse=True)


def opened(patterns, folders):
    for pattern in patterns:
        for folder in folders:
            for path in sorted(glob.glob(os.path.join(folder, pattern))):
                return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    raise OSError(f"no {' or '.join(patterns)} in {', '.join(folders)}")


class Gpu:
    """The first GPU with a stream; all calls wait."""

    def __init__(self, folder=None):
        folders = library_folders(folder)
        here = bool(folder) and os.path.exists(os.path.join(folder, "libcuda.so.1"))
        self.driver = ctypes.CDLL(os.path.join(folder, "libcuda.so.1") if here else "libcuda.so.1", mode=ctypes.RTLD_GLOBAL)
        version = ctypes.c_int()
        self.driver.cuDriverGetVersion(ctypes.byref(version))
        majors = range(version.value // 1000, 11, -1)
        opened([f"libnvrtc-builtins.so.{major}.*" for major in majors], folders)
        self.compiler = opened([f"libnvrtc.so.{major}" for major in majors], folders)
        self.products = opened([f"libcublasLt.so.{major}" for major in majors], folders)
        self.products.cublasLtGetVersion.restype = ctypes.c_size_t
        self.check(self.driver.cuInit(0))
        context, self.stream, self.lt, name = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.create_string_buffer(256)
        self.check(self.driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
        self.check(self.driver.cuCtxSetCurrent(context))
        self.check(self.driver.cuStreamCreate(ctypes.byref(self.stream), 1))
        self.driver.cuDeviceGetName(name, 256, 0)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.driver.cuDeviceGetAttribute(ctypes.byref(major), 75, 0)
        self.driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, 0)
        self.capability = (major.value, minor.value)
        self.status(self.products.cublasLtCreate(ctypes.byref(self.lt)))
        nvrtc = (ctypes.c_int(), ctypes.c_int())
        self.compiler.nvrtcVersion(ctypes.byref(nvrtc[0]), ctypes.byref(nvrtc[1]))
        self.facts = {
            "gpu": name.value.decode(),
            "capability": "%d.%d" % self.capability,
            "driver_serves_cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
            "nvrtc": f"{nvrtc[0].value}.{nvrtc[1].value}",
            "cublaslt": self.products.cublasLtGetVersion(),
        }
        self.workspace = self.allocate(WORKSPACE)

    def check(self, code):
        if code:
            text = ctypes.c_char_p()
            self.driver.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError(f"the driver answered {code}: {text.value.decode() if text.value else ''}")

    def status(self, code):
        if code:
            raise RuntimeError(f"cublasLt answered {code}")

    def allocate(self, size):
        address = ctypes.c_uint64()
        self.check(self.driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)))
        return address.value

    def free(self, address):
        self.check(self.driver.cuMemFree_v2(ctypes.c_uint64(address)))

    def put(self, array):
        address = self.allocate(array.nbytes)
        self.check(self.driver.cuMemcpyHtoDAsync_v2(ctypes.c_uint64(address), array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes), self.stream))
        self.check(self.driver.cuStreamSynchronize(self.stream))
        return address

    def get(self, address, like):
        array = numpy.empty_like(like)
        self.check(self.driver.cuMemcpyDtoHAsync_v2(array.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(address), ctypes.c_size_t(array.nbytes), self.stream))
        self.check(self.driver.cuStreamSynchronize(self.stream))
        return array

    def module(self, name, source, options):
        program, size, module = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_void_p()
        self.compiler.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        letter = "a" if self.capability[0] in (9, 10) else ""
        options = [f"--gpu-architecture=sm_{self.capability[0]}{self.capability[1]}{letter}", "-std=c++17", *options]
        encoded = [option.encode() for option in options]
        failed = self.compiler.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
        self.compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.compiler.nvrtcGetProgramLog(program, log)
        if failed:
            raise RuntimeError(log.value.decode())
        self.compiler.nvrtcGetCUBINSize(program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        self.compiler.nvrtcGetCUBIN(program, image)
        self.check(self.driver.cuModuleLoadData(ctypes.byref(module), image))
        return module

    def launch(self, module, name, grid, block, shared, values):
        """Runs a kernel; `values` are ctypes values. Waits."""
        function = ctypes.c_void_p()
        self.check(self.driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
        if shared > 48 << 10:
            self.check(self.driver.cuFuncSetAttribute(function, 8, shared))
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values])
        self.check(self.driver.cuLaunchKernel(function, *grid, *block, shared, self.stream, pointers, None))
        self.check(self.driver.cuStreamSynchronize(self.stream))

    def multiply(self, sizes, transposed, batch, kinds, compute, a, b, c, beta, bias):
        """Row-major C[m, n] = op(A) op(B) + beta C (+ bias[n]), `batch` times; the algorithm is chosen for one of them.

        cublasLt is column-major: it is given B and A in this order, and multiplies the transposed matrices.
        """
        lt, (m, n, k), (ta, tb) = self.products, sizes, transposed
        description, preference = ctypes.c_void_p(), ctypes.c_void_p()
        self.status(lt.cublasLtMatmulDescCreate(ctypes.byref(description), compute, F32))

        def attribute(number, value):
            self.status(lt.cublasLtMatmulDescSetAttribute(description, number, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))))

        attribute(3, ctypes.c_int(int(tb)))
        attribute(4, ctypes.c_int(int(ta)))
        if bias:
            attribute(7, ctypes.c_uint32(4))  # CUBLASLT_EPILOGUE_BIAS
            attribute(8, ctypes.c_uint64(bias))
        # Columns and rows of each as stored, in elements from one column to the next.
        stored = [(n, k) if not tb else (k, n), (k, m) if not ta else (m, k), (n, m)]

        def layouts(count):
            made = []
            for kind, (rows, columns) in zip((kinds[1], kinds[0], kinds[2]), stored):
                layout = ctypes.c_void_p()
                self.status(lt.cublasLtMatrixLayoutCreate(ctypes.byref(layout), kind, ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows)))
                for number, value in [(5, ctypes.c_int32(count)), (6, ctypes.c_int64(rows * columns))]:
                    self.status(lt.cublasLtMatrixLayoutSetAttribute(layout, number, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))))
                made.append(layout)
            return made

        self.status(lt.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)))
        # CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: split sums are added by a kernel of their own.
        wanted = [(1, ctypes.c_uint64(WORKSPACE)), (3, ctypes.c_uint32(2))]
        wanted += [(number, ctypes.c_uint32(16)) for number in (5, 6, 7, 8)]
        for number, value in wanted:
            self.status(lt.cublasLtMatmulPreferenceSetAttribute(preference, number, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))))
        # As the engine does: the first choice that can be used for one; one by one where it cannot be used for all at once.
        results, found = (ctypes.c_uint64 * 12 * CHOICES)(), ctypes.c_int()
        one, every = layouts(1), layouts(batch)
        self.status(lt.cublasLtMatmulAlgoGetHeuristic(self.lt, description, *one, one[2], preference, CHOICES, ctypes.byref(results), ctypes.byref(found)))

        def fits(algorithm, layouts):
            checked = (ctypes.c_uint64 * 12)()
            refused = lt.cublasLtMatmulAlgoCheck(self.lt, description, *layouts, layouts[2], ctypes.byref(algorithm), ctypes.byref(checked))
            return not refused and checked[8] <= WORKSPACE

        good = [chosen for chosen in list(results)[: found.value] if fits(chosen, one)]
        if not good:
            raise RuntimeError(f"cublasLt has no algorithm for {sizes}, transposed {transposed}, types {kinds}, bias {bool(bias)}, beta {beta}")
        algorithm = good[0]
        factors, at_once = (ctypes.c_float * 2)(1.0, beta), fits(algorithm, every)
        bytes_ = [rows * columns * (2 if kind == BF16 else 4) for kind, (rows, columns) in zip((kinds[1], kinds[0], kinds[2]), stored)]
        for number in range(1 if at_once else batch):
            used = every if at_once else one
            b_at, a_at, c_at = (ctypes.c_uint64(address + number * size) for address, size in zip((b, a, c), bytes_))
            self.status(lt.cublasLtMatmul(
                self.lt, description, ctypes.byref(factors, 0), b_at, used[0], a_at, used[1], ctypes.byref(factors, 4), c_at, used[2],
                c_at, used[2], ctypes.byref(algorithm), ctypes.c_uint64(self.workspace), ctypes.c_size_t(WORKSPACE), self.stream))
        self.check(self.driver.cuStreamSynchronize(self.stream))


def to_bf16(values):
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def from_bf16(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def check_products(gpu, sizes):
    """Every kind of product that a step makes, against float64: a row each with the largest error over the largest result."""
    random, rows = numpy.random.default_rng(1), []
    for precision, limit in [("f32", 2e-6), ("tf32", 2e-3), ("bf16", 1e-2), ("bf16 to f32", 1e-5)]:
        narrow, wide = precision.startswith("bf16"), precision != "bf16"
        kinds = (BF16 if narrow else F32,) * 2 + (F32 if wide else BF16,)
        for (m, n, k), transposed, batch, beta, biased in [
            (size, transposed, batch, beta, biased)
            for size in sizes
            for transposed in [(False, False), (False, True), (True, False)]
            for batch, beta, biased in [(1, 0.0, False), (1, 1.0, False), (1, 0.0, True), (6, 0.0, False)]
        ]:
            ta, tb = transposed
            a, b, c = (random.standard_normal((batch, *shape)).astype(numpy.float32) for shape in [(k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n)])
            bias = random.standard_normal(n).astype(numpy.float32)
            pack = to_bf16 if narrow else numpy.ascontiguousarray
            given, out = [pack(a), pack(b)], (c if wide else to_bf16(c))
            addresses = [gpu.put(given[0]), gpu.put(given[1]), gpu.put(out), gpu.put(bias if wide else to_bf16(bias))]

            def product(count):
                if beta:
                    gpu.free(addresses[2])
                    addresses[2] = gpu.put(out)
                compute = COMPUTE_TF32 if precision == "tf32" else COMPUTE_F32
                gpu.multiply((m, n, k), transposed, count, kinds, compute, *addresses[:3], beta, addresses[3] if biased else 0)
                return gpu.get(addresses[2], out)

            first, again = product(batch), product(batch)
            alone = product(1)[0] if batch > 1 else first[0]
            a, b, c, bias_read = (from_bf16(to_bf16(x)) if narrow else x for x in (a, b, c, bias))
            if wide:
                c, bias_read = out, bias
            left, right = (a.astype(numpy.float64).transpose(0, 2, 1) if ta else a.astype(numpy.float64)), (b.transpose(0, 2, 1) if tb else b)
            expected = left @ right + beta * c + (bias_read if biased else 0.0)
            computed = first if wide else from_bf16(first)
            error = float(numpy.abs(computed - expected).max() / numpy.abs(expected).max())
            row = {"precision": precision, "m": m, "n": n, "k": k, "transposed": f"{'T' if ta else 'N'}{'T' if tb else 'N'}", "batch": batch, "beta": beta, "bias": biased}
            row |= {"error": error, "limit": limit, "repeats": bool((first == again).all()), "as_alone": bool((first[0] == alone).all())}
            rows.append(row | {"good": error <= limit and row["repeats"] and row["as_alone"]})
            for address in addresses:
                gpu.free(address)
    return rows


def read_recording(data):
    """A launch that tests/host_gpu/record.h describes."""
    end = data.index(b"end\n") + 4
    launch, sizes = {"arguments": []}, []
    for line in data[:end].decode().splitlines():
        words = line.split()
        if words[0] == "kernel":
            launch |= {"name": words[1], "grid": [int(w) for w in words[3:6]], "block": [int(w) for w in words[7:10]], "shared": int(words[11])}
        elif words[0] == "memory":
            sizes.append(int(words[1]))
        elif words[0] != "end":
            launch["arguments"].append(words)
    parts, at = [], end
    for size in sizes * 2:
        parts.append(numpy.frombuffer(data, numpy.uint8, size, at).copy())
        at += size
    return launch | {"before": parts[: len(sizes)], "after": parts[len(sizes) :]}


def compared(kind, width, ours, theirs, before):
    """The largest difference over the largest result of the elements that either has written."""
    views = {"f": numpy.float32, "d": numpy.float64, "h": numpy.uint16}
    size = len(ours) // width * width
    ours, theirs, before = (x[:size].view(views.get(kind, numpy.uint8)) for x in (ours, theirs, before))
    written = (ours != before) | (theirs != before) if kind not in "fd" else (ours.view(numpy.uint8).reshape(len(ours), -1) != before.view(numpy.uint8).reshape(len(ours), -1)).any(1)
    ours, theirs = ours[written], theirs[written]
    if kind == "i":
        return float((ours != theirs).mean()) if len(ours) else 0.0
    if kind == "h":
        ours, theirs = from_bf16(ours), from_bf16(theirs)
    ours, theirs = ours.astype(numpy.float64), theirs.astype(numpy.float64)
    if (numpy.isfinite(ours) != numpy.isfinite(theirs)).any():
        return float("inf")
    finite = numpy.isfinite(ours)
    if not finite.any():
        return 0.0
    return float(numpy.abs(ours[finite] - theirs[finite]).max() / max(numpy.abs(theirs[finite]).max(), 1e-30))


# Width of heads of attention in tiles in all recordings.
RECORDED_HEADS = 16

# Largest differences relative to an array's largest value; other elements (masks, counters) must be the same.
LIMITS = {"f": 1e-4, "d": 1e-5, "h": 2e-2, "i": 0.0}


def check_kernels(gpu, recording):
    """Each recorded launch again on this GPU, against what the stand-ins made of it: a row each."""
    rows = []
    with zipfile.ZipFile(recording) as archive:
        names = archive.namelist()
        sources = {pathlib.PurePath(name).name: archive.read(name).decode() for name in names if name.startswith("kernels/")}
        prelude = sources.pop("prelude.cu")
        for operand, options in [("f32", []), ("bf16", ["-DOPERAND_BF16"])]:
            modules = {}
            for name in (name for name in names if name.startswith(f"{operand}/")):
                launch = read_recording(archive.read(name))
                kernel = launch["name"]
                source = next(file for file, text in sources.items() if f" {kernel}(" in text)
                if source not in modules:
                    modules[source] = gpu.module(source, prelude + sources[source], [*options, f"-DHEAD_WIDTH={RECORDED_HEADS}"])
                memories, values, pointers = [gpu.put(before) for before in launch["before"]], [], []
                for words in launch["arguments"]:
                    if words[0] == "value":
                        values.append((ctypes.c_uint8 * (len(words[2]) // 2)).from_buffer_copy(bytes.fromhex(words[2])))
                    else:
                        memory, offset = int(words[4]), int(words[5])
                        values.append(ctypes.c_uint64(memories[memory] + offset if memory >= 0 else 0))
                        if memory >= 0:
                            pointers.append((words[1], words[2], int(words[3]), memory))
                gpu.launch(modules[source], kernel, launch["grid"], launch["block"], launch["shared"], values)
                row = {"kernel": kernel, "operand": operand, "launch": name.rsplit("-", 1)[1], "good": True, "differences": {}}
                seen = set()
                for argument, kind, width, memory in pointers:
                    if memory in seen:
                        continue
                    seen.add(memory)
                    difference = compared(kind, width, gpu.get(memories[memory], launch["before"][memory]), launch["after"][memory], launch["before"][memory])
                    row["differences"][argument] = difference
                    row["good"] &= difference <= LIMITS[kind]
                for memory in memories:
                    gpu.free(memory)
                rows.append(row)
    return rows
