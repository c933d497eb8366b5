// bundle-tool: makes, signs, checks and copies bundles on an ordinary Linux machine.
#include "command_line.hpp"

int main(int argc, char** argv) {
  return tool::run_command_line(argc, argv);
}
