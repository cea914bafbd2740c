#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "libs/stage/stage.h"
#include "services/control/control_core.h"
#include "services/control/post.h"

namespace tributary::control {

/// Never the same twice in a process.
PeerId NewPeerId();

/// Attaches a service to a control in the same process: the same messages as over gRPC, through
/// control's queue. Send may be called from any thread.
class LocalAttachment : public ControlPort {
 public:
  /// `deliver` is called on control's thread and must not wait. `core` is used on that thread only,
  /// and `post` must run its tasks before the core ends.
  LocalAttachment(std::string service, ControlCore& core, Post post,
                  std::function<void(const v1::ToService&)> deliver);
  /// `deliver` may still be called until control has run what was posted before.
  ~LocalAttachment() override;

  void Send(const v1::FromService& message) override;

 private:
  const PeerId peer_;
  ControlCore& core_;
  const Post post_;
};

}  // namespace tributary::control
