#include "bundle/manifest.hpp"
