#include "libs/connector/file_reader.h"

#include <algorithm>
#include <charconv>

#include "libs/config/quantities.h"
#include "libs/nearest/nearest.h"

namespace tributary::connector {
namespace {

/// As JSON writes it: `007` is a text.
bool IsDecimal(std::string_view text) {
  std::size_t i = text.starts_with('-') ? 1 : 0;
  if (text.size() > i + 1 && text[i] == '0' && text[i + 1] != '.') return false;
  std::size_t digits = 0;
  std::size_t points = 0;
  for (; i < text.size(); ++i) {
    if (text[i] >= '0' && text[i] <= '9') {
      ++digits;
    } else if (text[i] == '.' && points == 0 && digits > 0) {
      ++points;
    } else {
      return false;
    }
  }
  return digits > 0 && text.back() != '.';
}

}  // namespace

void FileReader::Problem(const YAML::Node& at, const std::string& text) {
  const YAML::Mark mark = at.Mark();
  problems_ += file_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) +
               ": error: " + text + "\n";
}

bool FileReader::Map(const YAML::Node& node, std::string_view what, const Keys& known) {
  if (!node.IsMap()) {
    Problem(node, std::string(what) + " must be a map");
    return false;
  }
  Keys seen;
  for (const auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      Problem(entry.first, "`" + key + "` is given twice");
    }
    seen.push_back(key);
    if (known.empty() || std::find(known.begin(), known.end(), key) != known.end()) continue;
    Problem(entry.first,
            "`" + key + "` is not known in " + std::string(what) + DidYouMean(key, known));
  }
  return true;
}

std::string FileReader::Text(const YAML::Node& map, const char* key, bool required) {
  const YAML::Node node = map[key];
  if (!node) {
    if (required) Problem(map, "`" + std::string(key) + "` is missing");
    return "";
  }
  if (!node.IsScalar()) {
    Problem(node, "`" + std::string(key) + "` must be a text");
    return "";
  }
  return node.Scalar();
}

bool FileReader::Bool(const YAML::Node& map, const char* key) {
  const std::string text = Text(map, key, false);
  if (text == "true") return true;
  if (!text.empty() && text != "false") {
    Problem(map[key], "`" + std::string(key) + "` must be true or false");
  }
  return false;
}

std::int64_t FileReader::Integer(const YAML::Node& map, const char* key, std::int64_t fallback,
                                 std::int64_t min, std::int64_t max) {
  const std::string text = Text(map, key, false);
  if (text.empty()) return fallback;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    Problem(map[key], "`" + std::string(key) + "` must be a whole number from " +
                          std::to_string(min) + " to " + std::to_string(max));
    return fallback;
  }
  return value;
}

Duration FileReader::Time(const YAML::Node& map, const char* key, Duration fallback, Duration min,
                          Duration max) {
  const std::string text = Text(map, key, false);
  if (text.empty()) return fallback;
  const std::optional<Duration> value = config::ParseDuration(text);
  if (!value || *value < min || *value > max) {
    Problem(map[key], "`" + std::string(key) + "` must be a duration such as 120s, from " +
                          std::to_string(min.count() / 1000) + "ms to " +
                          std::to_string(max.count() / 1'000'000) + "s");
    return fallback;
  }
  return *value;
}

Keys FileReader::List(const YAML::Node& map, const char* key) {
  Keys out;
  const YAML::Node node = map[key];
  if (!node) return out;
  if (!node.IsSequence()) {
    Problem(node, "`" + std::string(key) + "` must be a list of texts");
    return out;
  }
  for (const YAML::Node& item : node) {
    if (item.IsScalar()) {
      out.push_back(item.Scalar());
    } else {
      Problem(item, "`" + std::string(key) + "` must be a list of texts");
    }
  }
  return out;
}

Template FileReader::Pattern(const YAML::Node& map, const char* key, bool required) {
  const std::string text = Text(map, key, required);
  if (text.empty()) return {};
  return PatternOf(map[key], text);
}

Template FileReader::PatternOf(const YAML::Node& node, const std::string& text) {
  std::optional<Template> parsed = Template::Parse(text);
  if (!parsed) {
    Problem(node, "a brace is not closed; write {{ and }} for braces themselves");
    return {};
  }
  for (const std::string& name : parsed->placeholders()) CheckPlaceholder(node, name);
  return *std::move(parsed);
}

json::Value FileReader::Body(const YAML::Node& node) {
  if (node.IsScalar()) {
    const std::string& text = node.Scalar();
    if (node.Tag() != "!") {
      if (text == "true" || text == "false") return json::Value(text == "true");
      if (text == "null" || text == "~") return {};
      if (IsDecimal(text)) return json::Value(json::Number{text});
    }
    PatternOf(node, text);
    return json::Value(text);
  }
  if (node.IsSequence()) {
    json::Array out;
    for (const YAML::Node& item : node) out.push_back(Body(item));
    return json::Value(std::move(out));
  }
  if (node.IsMap()) {
    json::Object out;
    for (const auto& entry : node) out.emplace_back(entry.first.Scalar(), Body(entry.second));
    return json::Value(std::move(out));
  }
  return {};
}

void FileReader::CheckPlaceholder(const YAML::Node& node, const std::string& name) {
  static const Keys kRoots = {"record.id", "marker", "tags", "token"};
  static const Keys kPrefixes = {"fields.", "arguments.", "settings.", "credentials."};
  if (std::find(kRoots.begin(), kRoots.end(), name) != kRoots.end()) return;
  for (const std::string& prefix : kPrefixes) {
    if (!name.starts_with(prefix) || name.size() == prefix.size()) continue;
    if (prefix == "settings.") CheckNamed(node, name.substr(prefix.size()), settings_, "setting");
    if (prefix == "credentials.") {
      CheckNamed(node, name.substr(prefix.size()), credentials_, "credential");
    }
    return;
  }
  Keys known = kRoots;
  for (const std::string& setting : settings_) known.push_back("settings." + setting);
  for (const std::string& field : credentials_) known.push_back("credentials." + field);
  Problem(node, "placeholder `" + name + "` is not known" + DidYouMean(name, known));
}

void FileReader::Know(Keys settings, Keys credentials) {
  settings_ = std::move(settings);
  credentials_ = std::move(credentials);
}

void FileReader::CheckNamed(const YAML::Node& node, const std::string& name, const Keys& known,
                            const std::string& what) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  Problem(node, what + " `" + name + "` is not declared" + DidYouMean(name, known));
}

}  // namespace tributary::connector
