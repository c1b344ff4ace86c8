/* In the place of an NVIDIA driver, for what is compiled for a GPU but never run: cuDNN makes its plans with it. The
 * functions that it looks for are all there; kernels are loaded without a look at them. */
int cuDriverGetVersion(int *version);
int cuLibraryLoadData(void **library);
int cuLibraryGetKernel(void **kernel);

static int something;

int cuDriverGetVersion(int *version) {
    *version = 13000;
    return 0;
}

int cuLibraryLoadData(void **library) {
    *library = &something;
    return 0;
}

int cuLibraryGetKernel(void **kernel) {
    *kernel = &something;
    return 0;
}

#define DOES_NOTHING(name)                                                                                             \
    int name(void);                                                                                                    \
    int name(void) {                                                                                                   \
        return 0;                                                                                                      \
    }

DOES_NOTHING(cuDeviceGetCount)
DOES_NOTHING(cuKernelGetAttribute)
DOES_NOTHING(cuKernelGetFunction)
DOES_NOTHING(cuKernelSetAttribute)
DOES_NOTHING(cuLibraryGetModule)
DOES_NOTHING(cuLibraryUnload)
DOES_NOTHING(cuFuncSetAttribute)

#define MUST_NOT_BE_CALLED(name)                                                                                       \
    int name(void);                                                                                                    \
    int name(void) {                                                                                                   \
        return 34; /* CUDA_ERROR_STUB_LIBRARY */                                                                       \
    }

MUST_NOT_BE_CALLED(cuCtxGetCurrent)
MUST_NOT_BE_CALLED(cuCtxGetLimit)
MUST_NOT_BE_CALLED(cuCtxPopCurrent)
MUST_NOT_BE_CALLED(cuCtxPushCurrent)
MUST_NOT_BE_CALLED(cuDeviceGet)
MUST_NOT_BE_CALLED(cuGetErrorName)
MUST_NOT_BE_CALLED(cuGetErrorString)
MUST_NOT_BE_CALLED(cuLaunchCooperativeKernel)
MUST_NOT_BE_CALLED(cuLaunchKernel)
MUST_NOT_BE_CALLED(cuLaunchKernelEx)
MUST_NOT_BE_CALLED(cuLibraryLoadFromFile)
MUST_NOT_BE_CALLED(cuLinkAddData)
MUST_NOT_BE_CALLED(cuLinkComplete)
MUST_NOT_BE_CALLED(cuLinkCreate)
MUST_NOT_BE_CALLED(cuLinkDestroy)
MUST_NOT_BE_CALLED(cuModuleGetFunction)
MUST_NOT_BE_CALLED(cuOccupancyMaxPotentialClusterSize)
MUST_NOT_BE_CALLED(cuStreamGetCtx)
