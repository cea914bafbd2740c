#include "libs/mapping/yaml_reader.h"

#include <algorithm>
#include <exception>

#include "libs/nearest/nearest.h"
#include "libs/yaml/load.h"

namespace tributary::mapping {
namespace {

// As much as a mapping may be on its topic.
constexpr std::size_t kFileBytesMax = 256 * 1024;

}  // namespace

YamlReader::YamlReader(std::string_view file, std::string_view text,
                       std::vector<std::string>& problems)
    : file_(file), text_(text), problems_(problems) {}

void YamlReader::Read(const std::function<void(const YAML::Node& root)>& read) {
  YAML::Node root;
  if (const auto problem = yaml::Load(text_, {.bytes_max = kFileBytesMax}, root)) {
    ReportAt(OffsetOf(problem->line - 1, problem->column - 1), problem->message);
  } else {
    ReadLoaded(root, read);
  }
  std::stable_sort(found_.begin(), found_.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [offset, problem] : found_) problems_.push_back(std::move(problem));
  found_.clear();
}

void YamlReader::ReadLoaded(const YAML::Node& root,
                            const std::function<void(const YAML::Node& root)>& read) {
  try {
    read(root);
  } catch (const YAML::Exception& exception) {
    ReportAt(OffsetOf(exception.mark.line, exception.mark.column), exception.msg);
  } catch (const std::exception& exception) {
    ReportAt(0, exception.what());
  }
}

std::size_t YamlReader::OffsetOf(const YAML::Node& node) const {
  const YAML::Mark mark = node.Mark();
  return OffsetOf(mark.line, mark.column);
}

std::size_t YamlReader::OffsetOf(int line, int column) const {
  std::size_t offset = 0;
  for (; line > 0; --line) {
    const std::size_t end = text_.find('\n', offset);
    if (end == std::string::npos) return text_.size();
    offset = end + 1;
  }
  return std::min(text_.size(), offset + static_cast<std::size_t>(std::max(0, column)));
}

std::size_t OffsetInFile(std::string_view text, std::size_t from, std::string_view expression,
                         std::size_t offset) {
  // The line of the expression, found again in the file. Lines of a block come in their order, so
  // each is looked for behind the one before.
  std::size_t at = from;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = std::min(expression.find('\n', begin), expression.size());
    const std::string_view line = expression.substr(begin, end - begin);
    const std::size_t found = line.empty() ? at : text.find(line, at);
    if (found == std::string_view::npos) return from;
    if (offset <= end) return found + (offset - begin);
    at = found + line.size();
    begin = end + 1;
  }
}

void YamlReader::ReportAt(std::size_t offset, const std::string& message) {
  const cel::Position position = cel::PositionOf(text_, offset);
  found_.emplace_back(offset, file_ + ":" + std::to_string(position.line) + ":" +
                                  std::to_string(position.column) + ": error: " + message + "\n" +
                                  cel::CaretText(text_, offset));
}

void YamlReader::Report(const YAML::Node& node, const std::string& message) {
  ReportAt(OffsetOf(node), message);
}

void YamlReader::ReportIn(const YAML::Node& node, std::string_view expression, std::size_t offset,
                          const std::string& message) {
  ReportAt(OffsetInFile(text_, OffsetOf(node), expression, offset), message);
}

std::map<std::string, YAML::Node> YamlReader::Members(const YAML::Node& node,
                                                      const std::vector<std::string>& known) {
  std::map<std::string, YAML::Node> members;
  if (!node.IsMap()) {
    Report(node, "a map is wanted here");
    return members;
  }
  for (const auto& member : node) {
    if (!member.first.IsScalar()) {
      Report(member.first, "a name is wanted here");
      continue;
    }
    const std::string name = member.first.Scalar();
    if (!known.empty() && std::find(known.begin(), known.end(), name) == known.end()) {
      Report(member.first, "unknown key `" + name + "`" + DidYouMean(name, known));
      continue;
    }
    if (!members.emplace(name, member.second).second) {
      Report(member.first, "`" + name + "` stands twice");
    }
  }
  return members;
}

std::optional<std::string> YamlReader::Text(const YAML::Node& node, std::string_view what) {
  if (!node.IsScalar() || node.Scalar().empty()) {
    Report(node, "`" + std::string(what) + "` is a text");
    return std::nullopt;
  }
  return node.Scalar();
}

std::optional<bool> YamlReader::Boolean(const YAML::Node& node, std::string_view what) {
  if (node.IsScalar() && node.Scalar() == "true") return true;
  if (node.IsScalar() && node.Scalar() == "false") return false;
  Report(node, "`" + std::string(what) + "` is `true` or `false`");
  return std::nullopt;
}

std::optional<cel::Program> YamlReader::Expression(const YAML::Node& node, std::string_view what,
                                                   const cel::Environment& environment) {
  if (!node.IsScalar()) {
    Report(node, "`" + std::string(what) + "` is an expression");
    return std::nullopt;
  }
  const std::string source = node.Scalar();
  std::vector<cel::Problem> problems;
  std::optional<cel::Program> program = cel::Compile(source, environment, problems);
  for (const cel::Problem& problem : problems) {
    ReportIn(node, source, problem.offset, problem.message);
  }
  return program;
}

void YamlReader::Want(const YAML::Node& node, const std::optional<cel::Program>& program,
                      cel::Type::Kind kind, std::string_view what) {
  if (!program || program->type().kind == kind || program->type().kind == cel::Type::Kind::kDyn) {
    return;
  }
  Report(node, "`" + std::string(what) + "` wants " + cel::Name(cel::Type{kind, nullptr, nullptr}) +
                   ", this is " + cel::Name(program->type()));
}

}  // namespace tributary::mapping
