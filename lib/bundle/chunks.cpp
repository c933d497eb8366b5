#include "bundle/chunks.hpp"
