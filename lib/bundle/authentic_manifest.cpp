#include "bundle/authentic_manifest.hpp"
