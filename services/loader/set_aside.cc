#include <algorithm>

#include "libs/utf8/utf8.h"
#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What cannot be read is no state, and stays in sight until something readable stands in its place.

namespace tributary::loader {
namespace {

constexpr std::size_t kPrefixBytes = 256;

std::string DetailOf(const SetAside& aside) {
  std::string text = "record of " + std::string(eventlog::Name(aside.topic)) + ", partition " +
                     std::to_string(aside.partition) + ", offset " + std::to_string(aside.offset);
  if (aside.is_null) return text + ": a null, where only a finished action may have one";
  return text + ", cannot be read; it begins with the bytes " + aside.prefix_hex +
         ", SHA-256 of all " + aside.sha256_hex;
}

}  // namespace

void LoaderStage::KeepAside(eventlog::Topic topic, eventlog::Partition partition,
                            eventlog::Offset offset, const std::string& key,
                            std::optional<std::string_view> bytes) {
  ++counters_.undecodable;
  ++counters_.set_aside[static_cast<std::size_t>(topic)];
  ForgetAside(topic, key);
  SetAside aside;
  aside.topic = topic;
  aside.partition = partition;
  aside.offset = offset;
  aside.key = key;
  aside.is_null = !bytes;
  if (bytes) {
    aside.sha256_hex = ids::Sha256Hex(*bytes);
    aside.prefix_hex = ids::ToHex(bytes->substr(0, kPrefixBytes));
  }
  aside.seen_at = now_.wall;
  Log(Logger::Level::kError, "A record cannot be decoded and is set aside.",
      {{"topic", std::string(eventlog::Name(topic))},
       {"partition", std::to_string(partition)},
       {"offset", std::to_string(offset)},
       {"key", key},
       {"sha256", aside.sha256_hex},
       {"bytes", bytes ? aside.prefix_hex : "null"}});
  set_aside_.push_back(std::move(aside));
  if (set_aside_.size() > kSetAsideMax) set_aside_.pop_front();
}

void LoaderStage::ForgetAside(eventlog::Topic topic, const std::string& key) {
  if (set_aside_.empty()) return;
  std::erase_if(set_aside_, [&](const SetAside& a) { return a.topic == topic && a.key == key; });
}

const SetAside* LoaderStage::FindAside(const std::string& tenant, const std::string& sync) const {
  for (const SetAside& aside : set_aside_) {
    if (aside.topic == eventlog::Topic::kTenants) {
      if (aside.key == ids::EncodePart(tenant)) return &aside;
      continue;
    }
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(aside.key);
    if (parts && parts->tenant == tenant && parts->sync == sync) return &aside;
  }
  return nullptr;
}

void LoaderStage::AddAside(const v1::ListParkedRequest& request, std::int32_t items_max,
                           v1::ListParkedResponse& response) const {
  for (const SetAside& aside : set_aside_) {
    // Whoever wrote what cannot be read chose its key too.
    const std::string shown_key = utf8::Cleaned(aside.key);
    if (!request.key().empty() && request.key() != shown_key) continue;
    // What has no tenant is shown to everybody who asks.
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(aside.key);
    const bool is_anothers = parts ? parts->tenant != request.tenant()
                                   : aside.topic == eventlog::Topic::kTenants &&
                                         aside.key != ids::EncodePart(request.tenant());
    if (!request.tenant().empty() && is_anothers) continue;
    if (response.items_size() >= items_max) {
      response.set_more(true);
      return;
    }
    v1::ParkedItem& item = *response.add_items();
    item.set_key(shown_key);
    item.set_reason(v1::REASON_UNREADABLE);
    item.set_detail(DetailOf(aside));
    SetTime(aside.seen_at, item.mutable_since());
    item.set_fix("find out who wrote it; it is as if it were not there until it is written again");
  }
}

}  // namespace tributary::loader
