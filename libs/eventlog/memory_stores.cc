#include <map>
#include <memory>
#include <utility>

#include "libs/eventlog/local_store.h"

namespace tributary::eventlog {
namespace {

struct Content {
  std::map<std::string, std::string, std::less<>> values;
  std::string meta;
};

class MemoryStore : public LocalStore {
 public:
  explicit MemoryStore(std::shared_ptr<Content> content) : content_(std::move(content)) {}

  absl::Status Apply(const std::vector<Write>& writes, std::string_view meta) override {
    for (const Write& write : writes) {
      const auto at = content_->values.lower_bound(write.key);
      const bool is_there = at != content_->values.end() && at->first == write.key;
      if (write.value && is_there) {
        at->second = *write.value;
      } else if (write.value) {
        content_->values.emplace_hint(at, write.key, *write.value);
      } else if (is_there) {
        content_->values.erase(at);
      }
    }
    content_->meta = std::string(meta);
    return absl::OkStatus();
  }

  std::string meta() const override { return content_->meta; }

  std::optional<std::string_view> Find(std::string_view key) const override {
    const auto found = content_->values.find(key);
    if (found == content_->values.end()) return std::nullopt;
    return found->second;
  }

  void Scan(std::string_view prefix, std::string_view from,
            const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    auto at = content_->values.lower_bound(from > prefix ? from : prefix);
    for (; at != content_->values.end(); ++at) {
      if (!std::string_view(at->first).starts_with(prefix)) return;
      if (!visit(at->first, at->second)) return;
    }
  }

  absl::Status Clear() override {
    content_->values.clear();
    content_->meta.clear();
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<Content> content_;
};

class MemoryStores : public LocalStores {
 public:
  absl::StatusOr<std::unique_ptr<LocalStore>> Open(Topic topic, Partition partition) override {
    std::shared_ptr<Content>& content = contents_[{topic, partition}];
    if (!content) content = std::make_shared<Content>();
    return std::make_unique<MemoryStore>(content);
  }

 private:
  std::map<std::pair<Topic, Partition>, std::shared_ptr<Content>> contents_;
};

}  // namespace

std::unique_ptr<LocalStores> MakeMemoryStores() { return std::make_unique<MemoryStores>(); }

}  // namespace tributary::eventlog
