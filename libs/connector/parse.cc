#include "libs/connector/parse.h"

#include "libs/yaml/load.h"

// A connector file to structs, once; every problem is collected with its place.

namespace tributary::connector {
namespace {

/// As much as one may be on its topic.
constexpr std::size_t kFileBytesMax = 256 * 1024;

void ReadSettings(FileReader& reader, const YAML::Node& root, Connector& out) {
  Keys known;
  if (const YAML::Node settings = root["settings"]; settings && !settings.IsNull()) {
    if (reader.Map(settings, "settings", {})) {
      for (const auto& entry : settings) {
        const std::string name = entry.first.Scalar();
        Setting setting;
        if (name == "settle" || name == "index_lag") {
          reader.Problem(entry.first, "every connection has `" + name + "` already");
        }
        if (!entry.second.IsNull() &&
            reader.Map(entry.second, "a setting", {"required", "default"})) {
          setting.required = reader.Bool(entry.second, "required");
          setting.fallback = reader.Text(entry.second, "default", false);
        }
        known.push_back(name);
        out.settings.emplace(name, std::move(setting));
      }
    }
  }
  out.credentials = reader.List(root, "credentials");
  reader.Know(std::move(known), out.credentials);
}

void ReadRoot(FileReader& reader, const YAML::Node& root, Connector& out) {
  if (!reader.Map(root, "a connector file",
                  {"integration", "base_url", "credentials", "settings", "authentication",
                   "headers", "limits", "settle", "index_lag", "answers", "objects", "actions"})) {
    return;
  }
  out.integration = reader.Text(root, "integration", true);
  out.base_url = reader.Text(root, "base_url", false);
  ReadSettings(reader, root, out);
  ReadAuthentication(reader, root, out.authentication);
  if (const YAML::Node headers = root["headers"]; headers && reader.Map(headers, "headers", {})) {
    for (const auto& entry : headers) {
      if (entry.second.IsScalar()) {
        out.headers.emplace_back(entry.first.Scalar(), entry.second.Scalar());
      } else {
        reader.Problem(entry.second, "a header must be a text");
      }
    }
  }
  ReadLimits(reader, root, out.limits);
  out.settle = reader.Time(root, "settle", out.settle, std::chrono::milliseconds(100),
                           std::chrono::hours(1));
  out.index_lag =
      reader.Time(root, "index_lag", out.index_lag, Duration::zero(), std::chrono::hours(1));
  out.answers = ReadAnswers(reader, root);
  const YAML::Node objects = root["objects"];
  if (!objects) {
    reader.Problem(root, "`objects` is missing");
  } else if (reader.Map(objects, "objects", {})) {
    for (const auto& entry : objects) {
      const std::string name = entry.first.Scalar();
      out.objects.emplace(name, ReadObject(reader, name, entry.second));
    }
  }
  if (const YAML::Node actions = root["actions"]; actions && reader.Map(actions, "actions", {})) {
    for (const auto& entry : actions) {
      const std::string name = entry.first.Scalar();
      out.actions.emplace(name, ReadAction(reader, name, entry.second, out));
    }
  }
}

}  // namespace

absl::StatusOr<Connector> Connector::Parse(std::string_view name, std::string_view yaml) {
  FileReader reader(name);
  Connector out;
  YAML::Node root;
  if (const auto problem = yaml::Load(yaml, {.bytes_max = kFileBytesMax}, root)) {
    return absl::InvalidArgumentError(std::string(name) + ":" + std::to_string(problem->line) +
                                      ":" + std::to_string(problem->column) +
                                      ": error: " + problem->message + "\n");
  }
  try {
    ReadRoot(reader, root, out);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        std::string(name) + ":" + std::to_string(error.mark.line + 1) + ":" +
        std::to_string(error.mark.column + 1) + ": error: " + error.msg + "\n" + reader.problems());
  }
  if (!reader.problems().empty()) return absl::InvalidArgumentError(reader.problems());
  return out;
}

}  // namespace tributary::connector
