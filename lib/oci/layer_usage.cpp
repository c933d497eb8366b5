#include "oci/layer_usage.hpp"
