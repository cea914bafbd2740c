# Flags and two helpers, so that a leaf file has one line per target.

set(TRIBUTARY_SANITIZER "" CACHE STRING "address (with undefined), thread, fuzzer (clang), or empty")
option(TRIBUTARY_WERROR "Warnings are errors" ON)

find_program(TRIBUTARY_CCACHE ccache)
if(TRIBUTARY_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${TRIBUTARY_CCACHE})
endif()
find_program(TRIBUTARY_MOLD mold)
if(TRIBUTARY_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Line tables are enough for a stack trace, and half the time of -g.
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Up to eight files of a target are compiled as one (CMAKE_UNITY_BUILD, on in all presets but debug):
# the headers that they share are read once, which is most of the work. So names in anonymous
# namespaces are a target's own, not a file's.
set(tributary_busy_options "")
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # It takes each of the files for a header.
  add_compile_options(-Wno-subobject-linkage)
  # For libraries and stages alone, since it takes a fifth longer. Eight files are a large unit to g++,
  # which then inlines less: 3 % more instructions of a loader's stage than file by file, with these
  # bounds 1 % fewer.
  set(tributary_busy_options --param=large-unit-insns=60000 --param=inline-unit-growth=200)
endif()

# Generated code and ours alike must agree on the sanitizer.
if(TRIBUTARY_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address -fno-omit-frame-pointer -O1)
  add_link_options(-fsanitize=address,undefined)
elseif(TRIBUTARY_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -O1)
  add_link_options(-fsanitize=thread)
elseif(TRIBUTARY_SANITIZER STREQUAL "fuzzer")
  add_compile_options(-fsanitize=address,fuzzer-no-link -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

add_library(tributary_flags INTERFACE)
target_include_directories(tributary_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(tributary_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # g++ leaves it out of -Wconversion.
  target_compile_options(tributary_flags INTERFACE -Wno-sign-conversion)
endif()
if(TRIBUTARY_WERROR)
  target_compile_options(tributary_flags INTERFACE -Werror)
endif()
if(TRIBUTARY_SANITIZER MATCHES "address|fuzzer")
  # Not on generated code: g++ takes four times as long there.
  target_compile_options(tributary_flags INTERFACE -fsanitize=undefined -fno-sanitize-recover=undefined)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(tributary_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
  target_link_options(tributary_flags INTERFACE -Wl,-z,relro,-z,now)
endif()

# tributary_library(NAME SOURCES… DEPS…): target tributary_NAME, used as tributary::NAME. Paths are
# relative to the directory of the call.
function(tributary_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SOURCES)
    add_library(tributary_${name} STATIC ${ARG_SOURCES})
    target_link_libraries(tributary_${name} PUBLIC ${ARG_DEPS} PRIVATE tributary_flags ${ARG_PRIVATE_DEPS})
    target_include_directories(tributary_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  else()
    add_library(tributary_${name} INTERFACE)
    target_link_libraries(tributary_${name} INTERFACE ${ARG_DEPS})
    target_include_directories(tributary_${name} INTERFACE ${CMAKE_SOURCE_DIR})
  endif()
  add_library(tributary::${name} ALIAS tributary_${name})
endfunction()

# tributary_test(NAME LABEL unit|conformance|simulation|e2e|fault|fuzz SOURCES… DEPS…)
function(tributary_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tributary_flags ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TRIBUTARY_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    # A quarter off their compiling; what they test is optimised as it is shipped.
    target_compile_options(${name} PRIVATE -O1)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# tributary_executable(NAME SOURCES… DEPS…)
function(tributary_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tributary_flags ${ARG_DEPS})
  # Sanitizers bring an allocator of their own. Nothing refers to it by
  # name, so the linker is told to keep it.
  if(NOT TRIBUTARY_SANITIZER)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:tributary_allocator>)
    target_link_libraries(${name} PRIVATE
      "-Wl,--push-state,--no-as-needed,${JEMALLOC_LINK_LIBRARIES},--pop-state")
  endif()
endfunction()

# tributary_fuzz(NAME SOURCES… DEPS…): NAME_fuzz, with its inputs in corpus/NAME beside it. Built for
# libFuzzer it searches; else it is a test that goes over its inputs and what is made of them.
function(tributary_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  set(target ${name}_fuzz)
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE tributary_flags ${ARG_DEPS} tributary::fuzz_invariant)
  if(TRIBUTARY_SANITIZER STREQUAL "fuzzer")
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_link_libraries(${target} PRIVATE tributary::fuzz_replay)
    add_test(NAME ${target} COMMAND ${target} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
    set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 300)
  endif()
endfunction()
