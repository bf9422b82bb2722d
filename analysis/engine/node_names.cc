#include "analysis/engine/node_names.h"

#include <algorithm>
#include <charconv>

#include "core/base/status.h"

namespace microtome::engine {
namespace {

constexpr size_t kLongest = 64, kMost = 4096;          // of one name, and of a list

// Reads a number and moves on; -1 where there is none.
int64_t take_number(const char*& p, const char* end) {
  int64_t n = -1;
  auto [next, error] = std::from_chars(p, end, n);
  if (error != std::errc() || n < 0) return -1;
  p = next;
  return n;
}

void in_range(int64_t n, int64_t count, const std::string& what, const std::string& text, const std::string& param) {
  if (n < count) return;
  throw Error(StatusCode::kBadInput, "'" + text + "' names " + what + " " + std::to_string(n), "param " + param,
              count > 0 ? "there " + what + "s go from 0 to " + std::to_string(count - 1) : "there is none");
}

}  // namespace

std::string NodeName::text() const {
  switch (kind) {
    case Kind::kInput: return "input";
    case Kind::kMlp: return "m" + std::to_string(layer);
    case Kind::kLogits: return "logits";
    default:
      return "a" + std::to_string(layer) + ".h" + std::to_string(head) + (role.empty() ? "" : "<" + role + ">");
  }
}

std::string NodeName::spoken() const {
  switch (kind) {
    case Kind::kInput: return "the input";
    case Kind::kMlp: return "MLP " + std::to_string(layer);
    case Kind::kLogits: return "the logits";
    default: {
      std::string name = "head " + std::to_string(layer) + "." + std::to_string(head);
      return role.empty() ? name : "the " + role + " input of " + name;
    }
  }
}

NodeName parse_node(const Model& model, const std::string& given, const std::string& param) {
  const std::string text = given.substr(0, kLongest);
  const int64_t layers = static_cast<int64_t>(model.config().layers.size());
  NodeName out;
  auto bad = [&] {
    throw Error(StatusCode::kBadInput, "'" + text + "' is not the name of a node", "param " + param,
                "write logits, m3, 4.0 or a4.h0, and 4.0<q> for a head's input");
  };
  if (given.size() > kLongest) bad();
  if (text == "logits") return out;
  if (text == "input") {
    out.kind = NodeName::Kind::kInput;
    return out;
  }
  const char *p = text.data(), *end = p + text.size();
  bool mlp = p < end && *p == 'm';
  if (mlp || (p < end && *p == 'a')) ++p;
  out.layer = take_number(p, end);
  if (out.layer < 0) bad();
  in_range(out.layer, layers, "layer", text, param);
  if (mlp) {
    out.kind = NodeName::Kind::kMlp;
    if (p != end) bad();
    if (model.config().layers[static_cast<size_t>(out.layer)].channel.d_mlp == 0)
      throw Error(StatusCode::kBadInput, "layer " + std::to_string(out.layer) + " has no MLP", "param " + param,
                  "`microtome inspect MODEL` lists the layers");
    return out;
  }
  out.kind = NodeName::Kind::kHead;
  if (p == end || *p++ != '.') bad();
  if (p < end && *p == 'h') ++p;
  out.head = take_number(p, end);
  if (out.head < 0) bad();
  const MixerInfo& info = model.mixer_info(out.layer);
  in_range(out.head, info.heads, "head", text, param);
  if (p == end) return out;
  if (*p++ != '<' || end - p < 2 || end[-1] != '>') bad();
  out.role.assign(p, end - 1);
  if (std::find(info.inputs.begin(), info.inputs.end(), out.role) == info.inputs.end()) {
    std::string known;
    for (const std::string& r : info.inputs) known += (known.empty() ? "" : ", ") + r;
    throw Error(StatusCode::kBadInput, "heads of layer " + std::to_string(out.layer) + " (" + info.kind + ") have no input '" +
                out.role + "'", "param " + param, known.empty() ? "name an MLP or the logits" : "they have " + known);
  }
  return out;
}

std::vector<NodeName> parse_nodes(const Model& model, const std::string& text, const std::string& param) {
  std::vector<NodeName> out;
  if (text.find_first_not_of(" ") == std::string::npos) return out;
  for (size_t from = 0; from <= text.size();) {
    size_t to = std::min(text.find(',', from), text.size());
    std::string part = text.substr(from, to - from);
    size_t a = part.find_first_not_of(' '), b = part.find_last_not_of(' ');
    part = a == std::string::npos ? "" : part.substr(a, b - a + 1);
    NodeName node = parse_node(model, part, param);
    if (std::find(out.begin(), out.end(), node) != out.end())
      throw Error(StatusCode::kBadInput, "'" + part + "' is named twice", "param " + param, "name each node once");
    if (out.size() == kMost)
      throw Error(StatusCode::kBadInput, "more than " + std::to_string(kMost) + " nodes are named", "param " + param, "name fewer");
    out.push_back(node);
    from = to + 1;
  }
  return out;
}

}  // namespace microtome::engine
