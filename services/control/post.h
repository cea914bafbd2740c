#pragma once

#include <functional>

#include "libs/time/time.h"

namespace tributary::control {

/// Runs a task on the thread that owns something, soon, with the time of that moment. May be called
/// on any thread and returns at once. After the owner's end tasks are dropped.
using Post = std::function<void(std::function<void(Now)>)>;

}  // namespace tributary::control
