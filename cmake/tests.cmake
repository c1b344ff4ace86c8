# Every tests/**/test_*.c is one cmocka program and one ctest of the same name, with a time limit. Other .c files of a
# test folder are helpers, linked into the tests of that folder; those of tests/support are there for all. Scripts,
# tests/**/test_*.sh, get the build folder as argument. tests/fuzz/fuzz_*.c are libFuzzer programs; without CM3_FUZZ each
# is built with a driver that replays its corpus folder.
#
# A test that takes long says "Labels: slow" in a comment: the sanitizers leave it out. Tests of threads of our own get
# the label "threads" from what they include: the thread sanitizer runs those, and the target tests_of_threads builds them.
function(cm3_label_test name source)
  file(STRINGS ${source} slow REGEX "Labels:.*slow")
  file(STRINGS ${source} threads REGEX "Labels:.*threads|<pthread\\.h>|\"data/loader\\.h\"")
  if(slow)
    set_property(TEST ${name} APPEND PROPERTY LABELS slow)
  endif()
  if(threads)
    set_property(TEST ${name} APPEND PROPERTY LABELS threads)
  endif()
  set(threads "${threads}" PARENT_SCOPE)
endfunction()
add_custom_target(tests_of_threads)

set(seconds 120) # that a test may take
set(script_seconds 300)
if(CM3_SANITIZE)
  set(seconds 900)
  set(script_seconds 900)
endif()

file(GLOB support_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.c)
add_library(cm3_test_support STATIC ${support_sources})
target_link_libraries(cm3_test_support PUBLIC cm3_tools PkgConfig::CMOCKA)
target_compile_definitions(cm3_test_support PUBLIC CM3_SOURCE_DIR="${CMAKE_SOURCE_DIR}" CM3_BINARY_DIR="${CMAKE_BINARY_DIR}")

file(GLOB_RECURSE test_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*/test_*.c ${CMAKE_SOURCE_DIR}/tests/test_*.c)
foreach(source IN LISTS test_sources)
  get_filename_component(folder ${source} DIRECTORY)
  file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR}/tests ${source})
  string(REGEX REPLACE "\\.c$" "" name ${name})
  string(REGEX REPLACE "test_" "" name ${name})
  string(REPLACE "/" "_" target ${name})
  file(GLOB helpers CONFIGURE_DEPENDS ${folder}/*.c)
  list(FILTER helpers EXCLUDE REGEX "/test_[^/]*\\.c$")
  add_executable(test_${target} ${source} ${helpers})
  target_link_libraries(test_${target} PRIVATE cm3_test_support)
  target_compile_options(test_${target} PRIVATE -Wno-missing-prototypes)
  add_test(NAME ${name} COMMAND test_${target} WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${seconds})
  if(name MATCHES "/cuda/") # the backend of GPUs, run by the host
    set_tests_properties(${name} PROPERTIES ENVIRONMENT CM3_CUDA_LIBRARY=$<TARGET_FILE:cm3_simt>)
    add_dependencies(test_${target} cm3_simt)
  endif()
  cm3_label_test(${name} ${source})
  file(STRINGS ${source} calls_kernels REGEX "core/kernels/cuda/") # directly, not as a backend
  if(calls_kernels)
    target_link_libraries(test_${target} PRIVATE cm3_simt)
  endif()
  if(threads)
    add_dependencies(tests_of_threads test_${target})
  endif()
endforeach()

file(GLOB_RECURSE test_scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*/test_*.sh)
foreach(source IN LISTS test_scripts)
  file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR}/tests ${source})
  string(REGEX REPLACE "\\.sh$" "" name ${name})
  string(REGEX REPLACE "test_" "" name ${name})
  add_test(NAME ${name} COMMAND bash ${source} ${CMAKE_BINARY_DIR} WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${script_seconds} SKIP_RETURN_CODE 77) # 77: not possible on this machine
  cm3_label_test(${name} ${source})
endforeach()

file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzz_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE cm3_tools)
  target_compile_options(${name} PRIVATE -Wno-missing-prototypes)
  if(CM3_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
    add_test(NAME fuzz/${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz/${name} PROPERTIES TIMEOUT ${seconds})
  endif()
endforeach()
