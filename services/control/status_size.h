#pragma once

#include <cstddef>

#include "tributary/v1/control.pb.h"

namespace tributary::control {

/// What a status says of thousands of sites in trouble may be larger than a message. Shortens its
/// texts then, and where that is not enough leaves entries out, those without a problem first, and
/// counts them in it. One that fits is left as it is.
void FitInto(std::size_t bytes_max, v1::ServiceStatus& status);

}  // namespace tributary::control
