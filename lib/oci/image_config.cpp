#include "oci/image_config.hpp"
