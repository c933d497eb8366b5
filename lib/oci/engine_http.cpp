#include "oci/engine_http.hpp"
