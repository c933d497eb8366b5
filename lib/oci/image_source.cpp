#include "oci/image_source.hpp"
