# core/kernels/cuda, twice: as the shared object cm3_cuda that the program opens at run time where there is a GPU, made by
# nvcc if it is found; and, for the tests, as plain C++ for the host (tests/support/simt).
file(GLOB cuda_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/kernels/cuda/*.cu)
list(FILTER cuda_kernels EXCLUDE REGEX "_(cuda|cudnn|nccl)\\.cu$") # what calls CUDA's libraries

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
  add_library(cm3_simt STATIC ${simt_sources} ${simt} ${CMAKE_SOURCE_DIR}/core/kernels/cuda/backend.c)
  target_compile_options(cm3_simt PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-unknown-pragmas>)
  target_link_libraries(cm3_simt PUBLIC cm3_core)
endif()
