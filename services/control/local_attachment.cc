#include "services/control/local_attachment.h"

#include <utility>

namespace tributary::control {

PeerId NewPeerId() {
  static std::atomic<PeerId> last = 0;
  return ++last;
}

LocalAttachment::LocalAttachment(std::string service, ControlCore& core, Post post,
                                 std::function<void(const v1::ToService&)> deliver)
    : peer_(NewPeerId()), core_(core), post_(std::move(post)) {
  post_([peer = peer_, control = &core_, service = std::move(service),
         deliver = std::move(deliver)](Now) mutable {
    control->Attach(peer, std::move(service), std::move(deliver));
  });
}

LocalAttachment::~LocalAttachment() {
  post_([peer = peer_, control = &core_](Now now) { control->Detach(now, peer); });
}

void LocalAttachment::Send(const v1::FromService& message) {
  post_([peer = peer_, control = &core_, message](Now now) {
    control->OnMessage(now, peer, message);
  });
}

}  // namespace tributary::control
