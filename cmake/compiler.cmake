# Language level, warnings (all of them errors) and sanitizers. Every target of the project is made
# with ou_library() or ou_executable(), so that none escapes the warnings.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

set(OU_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them: address,undefined or thread")
option(OU_COVERAGE "Instrument for gcov" OFF)
option(OU_FUZZ "Instrument for libFuzzer and make the targets of tests/fuzz; takes clang" OFF)

find_program(OU_CCACHE ccache)
if(OU_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${OU_CCACHE})
endif()

# ou_warnings is for tests, which are compiled without optimisation: that takes half the time, and what
# they test is optimised. ou_options adds the hardening that needs optimisation.
add_library(ou_warnings INTERFACE)
add_library(ou_options INTERFACE)
target_link_libraries(ou_options INTERFACE ou_warnings)
target_compile_options(ou_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -Wold-style-cast -Wcast-align -Wformat=2 -Wimplicit-fallthrough -Wundef
  # Designated initializers leave the rest at their defaults on purpose; strftime takes its format.
  -Wno-missing-field-initializers -Wno-format-nonliteral
  -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(ou_warnings INTERFACE -Wduplicated-cond -Wlogical-op -Wuseless-cast)
endif()
if(OU_SANITIZE)
  target_compile_options(ou_warnings INTERFACE -fsanitize=${OU_SANITIZE} -fno-omit-frame-pointer
                                              -fno-sanitize-recover=all)
  target_link_options(ou_warnings INTERFACE -fsanitize=${OU_SANITIZE})
  if(OU_SANITIZE MATCHES thread AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(ou_warnings INTERFACE -Wno-tsan)  # about fences in Asio, which it does not follow
  endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_options(ou_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(OU_FUZZ)
  target_compile_options(ou_warnings INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(OU_COVERAGE)
  target_compile_options(ou_warnings INTERFACE --coverage)
  target_link_options(ou_warnings INTERFACE --coverage)
endif()

# Links what compiles `name` as our code: as a test below tests/, where OU_TEST_CODE is set.
function(ou_code_options name)
  if(OU_TEST_CODE)
    target_link_libraries(${name} PRIVATE ou_warnings)
    if(NOT OU_SANITIZE)
      target_compile_options(${name} PRIVATE -O0 -g1)
    endif()
  else()
    target_link_libraries(${name} PRIVATE ou_options)
  endif()
endfunction()

# ou_library(NAME SOURCES ... [INCLUDE ROOT] [PUBLIC targets] [PRIVATE targets])
function(ou_library name)
  cmake_parse_arguments(arg "" "INCLUDE" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC ${arg_INCLUDE})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  ou_code_options(${name})
endfunction()

function(ou_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;PRIVATE" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_PRIVATE})
  ou_code_options(${name})
endfunction()
