#include "libs/yaml/load.h"

#include <algorithm>
#include <exception>
#include <sstream>

#include <yaml-cpp/eventhandler.h>

#include "libs/utf8/utf8.h"

namespace tributary::yaml {
namespace {

/// First byte that is no UTF-8. The size: all of it is.
std::size_t EndOfUtf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t bytes = utf8::CharacterBytes(text.substr(at));
    if (bytes == 0) break;
    at += bytes;
  }
  return at;
}

/// What YAML allows in no place. yaml-cpp takes a NUL in a plain scalar for the beginning of an
/// escape.
std::size_t FirstControl(std::string_view text) {
  const auto found = std::find_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r') ||
           c == 0x7F;
  });
  return static_cast<std::size_t>(found - text.begin());
}

Problem AtByte(std::string_view text, std::size_t at, std::string message) {
  const std::string_view before = text.substr(0, at);
  const std::size_t line_end = before.rfind('\n');
  const std::size_t line_begin = line_end == std::string_view::npos ? 0 : line_end + 1;
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(at - line_begin) + 1, std::move(message)};
}

Problem At(const YAML::Mark& mark, std::string message) {
  if (mark.is_null()) return {0, 0, std::move(message)};
  return {mark.line + 1, mark.column + 1, std::move(message)};
}

class Counter {
 public:
  explicit Counter(const Limits& limits) : limits_(limits) {}

  std::optional<Problem> Count(const YAML::Node& node, std::size_t depth) {
    if (depth > limits_.depth_max) {
      return At(node.Mark(), "nested more than " + std::to_string(limits_.depth_max) + " deep");
    }
    if (++nodes_ > limits_.nodes_max) {
      return At(node.Mark(), "more than " + std::to_string(limits_.nodes_max) +
                                 " values, with what its aliases stand for");
    }
    if (node.IsScalar() && !IsUtf8(node.Scalar())) {
      return At(node.Mark(),
                R"(not UTF-8, by an escape: `\N` is written `\u0085`, `\_` is `\u00A0`)");
    }
    if (!node.IsDefined() || (!node.IsMap() && !node.IsSequence())) return std::nullopt;
    for (const auto& item : node) {
      std::optional<Problem> problem;
      if (node.IsMap()) {
        problem = Count(item.first, depth + 1);
        if (!problem) problem = Count(item.second, depth + 1);
      } else {
        problem = Count(item, depth + 1);
      }
      if (problem) return problem;
    }
    return std::nullopt;
  }

 private:
  const Limits& limits_;
  std::size_t nodes_ = 0;
};

/// Sees where documents begin and keeps nothing.
class Documents final : public YAML::EventHandler {
 public:
  const YAML::Mark& last_begin() const { return last_begin_; }

  void OnDocumentStart(const YAML::Mark& mark) override { last_begin_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  YAML::Mark last_begin_;
};

std::optional<Problem> LoadUnguarded(const std::string& text, const Limits& limits,
                                     YAML::Node& root) {
  // Not YAML::LoadAll: behind a stray bracket it finds documents without end.
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  Documents documents;
  if (!parser.HandleNextDocument(documents)) return std::nullopt;
  if (parser.HandleNextDocument(documents)) {
    return At(documents.last_begin(), "one document is expected, and another begins here");
  }
  root.reset(YAML::Load(text));
  return Counter(limits).Count(root, 0);
}

}  // namespace

std::optional<Problem> Load(std::string_view text, const Limits& limits, YAML::Node& root) {
  if (text.size() > limits.bytes_max) {
    return Problem{0, 0, "longer than " + std::to_string(limits.bytes_max) + " bytes"};
  }
  if (const std::size_t bad = EndOfUtf8(text); bad != text.size()) {
    return AtByte(text, bad, "not UTF-8");
  }
  if (const std::size_t control = FirstControl(text); control != text.size()) {
    return AtByte(text, control,
                  "a control character, byte " + std::to_string(static_cast<int>(text[control])) +
                      ", which YAML does not allow; remove it, or write it as an escape in quotes");
  }
  try {
    return LoadUnguarded(std::string(text), limits, root);
  } catch (const YAML::Exception& exception) {
    return At(exception.mark, "not YAML: " + exception.msg);
  } catch (const std::exception& exception) {
    return Problem{0, 0, std::string("not YAML: ") + exception.what()};
  }
}

bool IsUtf8(std::string_view text) { return EndOfUtf8(text) == text.size(); }

}  // namespace tributary::yaml
