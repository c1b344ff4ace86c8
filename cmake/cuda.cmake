# core/kernels/cuda, twice: as the shared object cm3_cuda that the program opens at run time where there is a GPU, made by
# nvcc if it is found; and, for the tests, as plain C++ for the host (tests/support/simt), which takes its place where
# CM3_CUDA_LIBRARY names it. Both leave cm3_fail() and its like to the program that opens them.
file(GLOB cuda_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/kernels/cuda/*.cu)
list(FILTER cuda_kernels EXCLUDE REGEX "_(cuda|cudnn|nccl)\\.cu$") # what calls CUDA's libraries
find_package(CUDAToolkit QUIET)

if(CM3_TESTS)
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 20)
  set(simt_sources)
  foreach(kernel IN LISTS cuda_kernels)
    get_filename_component(name ${kernel} NAME_WE)
    set(wrapper ${CMAKE_BINARY_DIR}/simt/${name}.cpp)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${kernel}\"\n" @ONLY)
    set_source_files_properties(${wrapper} PROPERTIES OBJECT_DEPENDS ${kernel})
    list(APPEND simt_sources ${wrapper})
  endforeach()
  file(GLOB simt CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/simt/*.c ${CMAKE_SOURCE_DIR}/tests/support/simt/*.cpp)
  file(GLOB cudnn CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/kernels/cuda/*cudnn*.c)
  list(FILTER cudnn EXCLUDE REGEX "/cudnn_run\\.c$") # the one file of it that needs a GPU
  add_library(cm3_simt SHARED ${simt_sources} ${simt} ${cudnn} ${CMAKE_SOURCE_DIR}/core/kernels/cuda/backend.c
              ${CMAKE_SOURCE_DIR}/core/kernels/cuda/workspace.c)
  target_compile_definitions(cm3_simt PUBLIC CM3_SIMT) # workspaces are small: operations take several pieces
  target_include_directories(cm3_simt SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_options(cm3_simt PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-unknown-pragmas>)
  target_link_options(cm3_simt PRIVATE -Wl,-Bsymbolic) # the other one may be loaded, too
  target_include_directories(cm3_simt PUBLIC ${CMAKE_SOURCE_DIR}/tests/support/simt)

  add_library(cm3_driver MODULE ${CMAKE_SOURCE_DIR}/tests/support/driver/driver.c)
  target_link_options(cm3_driver PRIVATE -Wl,-soname,libcuda.so.1) # what cuDNN opens
endif()

if(NOT CM3_CUDA OR NOT CUDAToolkit_FOUND OR CUDAToolkit_VERSION VERSION_LESS 12 OR CM3_SANITIZE OR CM3_FUZZ)
  message(STATUS "cm3leon for CPUs only: CM3_CUDA is off, no CUDA toolkit 12 or newer, or a build with sanitizers")
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual CACHE STRING
    "GPUs to compile for: the A100 and its like, the H100, and what comes after it, compiled by its driver")
enable_language(CUDA)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/kernels/cuda/*.cu ${CMAKE_SOURCE_DIR}/core/kernels/cuda/*.c)
list(FILTER cuda_sources EXCLUDE REGEX "/meta\\.c$") # the program's
find_path(CM3_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(NOT CM3_NCCL_INCLUDE)
  message(STATUS "without NCCL (no nccl.h): gradients of several GPUs are all-reduced through host memory")
endif()
add_library(cm3_cuda SHARED ${cuda_sources})
target_compile_options(cm3_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda;-std=c++20>")
target_include_directories(cm3_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS} $<$<BOOL:${CM3_NCCL_INCLUDE}>:${CM3_NCCL_INCLUDE}>)
target_link_options(cm3_cuda PRIVATE -Wl,-Bsymbolic)
target_link_libraries(cm3_cuda PRIVATE CUDA::cudart CUDA::cublasLt)
