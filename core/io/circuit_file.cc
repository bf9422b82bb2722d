#include "core/io/circuit_file.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <unordered_set>

#include "core/base/circuit_ops.h"
#include "core/base/json.h"
#include "core/base/quote.h"

namespace microtome {
namespace {

using Kind = CircuitPlace::Kind;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostName = 24, kMostPort = 32, kMostTitle = 4000;
constexpr int64_t kMostLayers = 100'000, kMostHeads = 1'000'000;

[[noreturn]] void refuse(const std::string& what, const std::string& where, const std::string& todo = {}) {
  throw Error(StatusCode::kBadInput, what, where, todo);
}

const char* const kForms = "nodes are input, a{layer}.h{head}, a{layer}, m{layer} and logits; an input of a head is a{layer}.h{head}<q>";

// The shape that names are held against; 0: not given, so anything goes.
struct Names {
  int64_t n_layers = 0, n_heads = 0;
  const std::string& where;

  CircuitPlace node(std::string_view name, std::string_view key, const char* what) const {
    const CircuitPlace p = name.size() > kMostName ? CircuitPlace{} : circuit_place(name);
    if (p.kind == Kind::kUnknown) refuse(std::string(what) + " " + in_quotes(key) + " has a name of no known form", where, kForms);
    if (p.layer >= 0 && n_layers > 0 && p.layer >= n_layers)
      refuse(std::string(what) + " " + in_quotes(key) + " names layer " + std::to_string(p.layer) + " of a model of " + std::to_string(n_layers) + " layers", where);
    if (p.head >= 0 && n_heads > 0 && p.head >= n_heads)
      refuse(std::string(what) + " " + in_quotes(key) + " names head " + std::to_string(p.head) + " of a model of " + std::to_string(n_heads) + " heads a layer", where);
    return p;
  }
  void edge(std::string_view from, std::string_view to, std::string_view key) const {
    const CircuitPlace a = node(from, key, "edge");
    const bool has_port = to.find('<') != std::string_view::npos;
    const auto [name, port] = has_port ? split_port(to) : std::pair(to, std::string_view());
    const CircuitPlace b = node(name, key, "edge");
    bool sound = !has_port || (!port.empty() && port.size() <= kMostPort && (b.kind == Kind::kHead || b.kind == Kind::kMixer));
    for (char c : port) sound = sound && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_');
    if (!sound) refuse("edge " + in_quotes(key) + " enters at an input of no known form", where, kForms);
    if (a.stage() >= b.stage()) refuse("edge " + in_quotes(key) + " does not lead forward", where, "edges lead from a node to one that reads after it");
  }
};

const Json& object_at(const Json& object, const char* key, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end()) refuse("the circuit has no " + in_quotes(key), where, "a circuit file holds cfg, nodes and edges");
  if (!it->is_object()) refuse("field '" + std::string(key) + "' is not an object", where);
  return *it;
}

struct Mark {
  bool in_graph = true;
  double score = kNaN;
};

double score_of(const Json& value, const char* what, const std::string& key, const std::string& where) {
  if (value.is_null()) return kNaN;
  if (!value.is_number()) refuse("the score of " + std::string(what) + " " + in_quotes(key) + " is not a number", where);
  return value.get<double>();
}

// A bare bool, a bare number where `numbers`, or {"in_graph", "score"}.
Mark mark_of(const Json& value, const char* what, bool numbers, const std::string& key, const std::string& where) {
  if (value.is_boolean()) return {value.get<bool>(), kNaN};
  if (numbers && value.is_number()) return {true, value.get<double>()};
  if (!value.is_object())
    refuse(std::string(what) + " " + in_quotes(key) + " is given in no known form", where,
           std::string("write true, false") + (numbers ? ", a number" : "") + " or {\"in_graph\": …, \"score\": …}");
  Mark m;
  if (const auto it = value.find("in_graph"); it != value.end()) {
    if (!it->is_boolean()) refuse("in_graph of " + std::string(what) + " " + in_quotes(key) + " is neither true nor false", where);
    m.in_graph = it->get<bool>();
  }
  if (const auto it = value.find("score"); it != value.end()) m.score = score_of(*it, what, key, where);
  return m;
}

int64_t size_of(const Json& cfg, const char* key, int64_t most, const std::string& where) {
  const int64_t v = json_int(cfg, key, 0, where);
  if (v < 0 || v > most) refuse("field 'cfg." + std::string(key) + "' is " + std::to_string(v) + ", not between 0 and " + std::to_string(most), where);
  return v;
}

std::string bounded_text(const Json& object, const char* key, size_t most, const std::string& where) {
  std::string s = json_string(object, key, std::string(), where);
  if (s.size() > most) refuse("field 'microtome." + std::string(key) + "' has more than " + std::to_string(most) + " bytes", where);
  return s;
}

void read_own(const Json& own, const Names& names, Circuit& c, const std::string& where) {
  if (!own.is_object()) refuse("field 'microtome' is not an object", where);
  c.name = bounded_text(own, "name", kMostTitle, where);
  c.title = bounded_text(own, "title", kMostTitle, where);
  const auto groups = own.find("groups");
  if (groups == own.end() || groups->is_null()) return;
  if (!groups->is_array() || groups->size() > kMostCircuitGroups)
    refuse("field 'microtome.groups' is not a list of at most " + std::to_string(kMostCircuitGroups) + " groups", where);
  size_t total = 0;
  for (const Json& g : *groups) {
    Circuit::Group group{json_string(g, "name", where), {}};
    if (group.name.empty() || group.name.size() > kMostGroupName)
      refuse("a group has a name of " + std::to_string(group.name.size()) + " bytes", where, "names have 1 to " + std::to_string(kMostGroupName));
    const auto nodes = g.find("nodes");
    if (nodes == g.end() || !nodes->is_array()) refuse("group " + in_quotes(group.name) + " has no list 'nodes'", where);
    if ((total += nodes->size()) > kMostCircuitNodes) refuse("the groups hold more than " + std::to_string(kMostCircuitNodes) + " nodes", where);
    for (const Json& n : *nodes) {
      if (!n.is_string()) refuse("group " + in_quotes(group.name) + " holds a node that is not a text", where);
      const std::string& name = n.get_ref<const std::string&>();
      names.node(name, name, "grouped node");
      group.nodes.push_back(name);
    }
    c.groups.push_back(std::move(group));
  }
}

Circuit read(const Json& root, const std::string& where) {
  if (!root.is_object()) refuse("the file does not hold a circuit: its value is not an object", where, "a circuit file holds cfg, nodes and edges");
  Circuit c;
  if (root.contains("cfg")) {
    const Json& cfg = object_at(root, "cfg", where);
    c.n_layers = size_of(cfg, "n_layers", kMostLayers, where);
    c.n_heads = size_of(cfg, "n_heads", kMostHeads, where);
    c.d_model = size_of(cfg, "d_model", int64_t{1} << 30, where);
    c.parallel_attn_mlp = json_bool(cfg, "parallel_attn_mlp", false, where);
  }
  const Names names{c.n_layers, c.n_heads, where};
  const bool listed = root.contains("nodes");
  if (listed) {
    const Json& nodes = object_at(root, "nodes", where);
    if (nodes.size() > kMostCircuitNodes) refuse("the circuit has more than " + std::to_string(kMostCircuitNodes) + " nodes", where);
    for (const auto& [name, value] : nodes.items()) {
      names.node(name, name, "node");
      const Mark m = mark_of(value, "node", false, name, where);
      c.nodes.push_back({name, m.in_graph, m.score});
    }
  }
  const Json& edges = object_at(root, "edges", where);
  if (edges.size() > kMostCircuitEdges) refuse("the circuit has more than " + std::to_string(kMostCircuitEdges) + " edges", where);
  c.edges.reserve(edges.size());
  for (const auto& [key, value] : edges.items()) {
    const size_t arrow = key.find("->");
    if (arrow == std::string::npos) refuse("edge " + in_quotes(key) + " has no '->' between its ends", where, "an edge is FROM->TO, as in input->a0.h0<q>");
    const std::string from = key.substr(0, arrow), to = key.substr(arrow + 2);
    names.edge(from, to, key);
    const Mark m = mark_of(value, "edge", true, key, where);
    c.edges.push_back({from, to, m.in_graph, m.score});
  }
  if (!listed) {
    const CircuitIndex index(c);
    std::vector<Circuit::Node> made;
    for (std::string_view n : index.names) made.push_back({std::string(n), false, kNaN});
    for (size_t e = 0; e < c.edges.size(); ++e) {
      if (c.edges[e].in_graph) made[static_cast<size_t>(index.from[e])].in_graph = made[static_cast<size_t>(index.to[e])].in_graph = true;
    }
    c.nodes = std::move(made);
  }
  if (const auto own = root.find("microtome"); own != root.end()) read_own(*own, names, c, where);
  return c;
}

std::string quoted(const std::string& s) { return Json(s).dump(-1, ' ', false, Json::error_handler_t::replace); }

void append_number(std::string& out, double v) {
  if (std::isnan(v)) out += "null";
  else if (std::isinf(v)) out += v > 0 ? "Infinity" : "-Infinity";
  else if (v == 0) out += std::signbit(v) ? "-0.0" : "0.0";   // a whole number has no sign at 0
  else {
    char text[40];
    out.append(text, std::to_chars(text, text + sizeof text, v).ptr);
  }
}

void append_mark(std::string& out, const std::string& key, bool in_graph, double score, bool score_first, bool last) {
  out += "  " + quoted(key) + ": {";
  const std::string in = std::string("\"in_graph\": ") + (in_graph ? "true" : "false");
  if (!score_first) out += in + ", ";
  out += "\"score\": ";
  append_number(out, score);
  if (score_first) out += ", " + in;
  out += last ? "}\n" : "},\n";
}

// "<beta>" and "a{l}": what other readers of the form do not know, each once.
std::set<std::string> extensions_of(const Circuit& c) {
  std::set<std::string> out;
  const auto look = [&](std::string_view end) {
    const auto [name, port] = split_port(end);
    if (circuit_place(name).kind == Kind::kMixer) out.insert("a{l}");
    if (!port.empty() && port != "q" && port != "k" && port != "v") out.insert("<" + std::string(port) + ">");
  };
  for (const auto& n : c.nodes) look(n.name);
  for (const auto& e : c.edges) {
    look(e.from);
    look(e.to);
  }
  return out;
}

void check(const Circuit& c) {
  const std::string where = "circuit " + in_quotes(c.name);
  if (c.n_layers < 0 || c.n_layers > kMostLayers || c.n_heads < 0 || c.n_heads > kMostHeads || c.d_model < 0 || c.d_model > (int64_t{1} << 30))
    refuse("the shape of the circuit's model is out of range", where);
  if (c.nodes.size() > kMostCircuitNodes || c.edges.size() > kMostCircuitEdges || c.groups.size() > kMostCircuitGroups ||
      c.name.size() > kMostTitle || c.title.size() > kMostTitle)
    refuse("the circuit is larger than a circuit file may be", where);
  const Names names{c.n_layers, c.n_heads, where};
  std::unordered_set<std::string> seen;
  for (const auto& n : c.nodes) {
    names.node(n.name, n.name, "node");
    if (!seen.insert(n.name).second) refuse("node " + in_quotes(n.name) + " is given twice", where);
  }
  seen.clear();
  for (const auto& e : c.edges) {
    std::string key = e.from + "->" + e.to;
    names.edge(e.from, e.to, key);
    if (!seen.insert(key).second) refuse("edge " + in_quotes(key) + " is given twice", where);
  }
  size_t total = 0;
  for (const auto& g : c.groups) {
    if (g.name.empty() || g.name.size() > kMostGroupName) refuse("group " + in_quotes(g.name) + " has a name of " + std::to_string(g.name.size()) + " bytes", where);
    if ((total += g.nodes.size()) > kMostCircuitNodes) refuse("the groups are larger than a circuit file may hold", where);
    for (const auto& n : g.nodes) names.node(n, n, "grouped node");
  }
}

}  // namespace

Result<Circuit> parse_circuit(std::string_view text, const std::string& where) {
  JsonLimits limits;
  limits.max_bytes = kCircuitFileBytes;
  limits.max_depth = 8;                    // of other people's keys, which are passed over
  limits.allow_infinity = true;
  Result<Json> root = parse_json(text, where, limits);
  if (!root) return root.status();
  Circuit c;
  if (Status s = catch_status([&] { c = read(*root, where); }); !s) return s;
  return c;
}

Result<Circuit> read_circuit_file(const std::string& path) {
  Result<std::string> text = read_text_file(path, kCircuitFileBytes);
  if (!text) return text.status();
  return parse_circuit(*text, path);
}

std::string circuit_to_mib(const Circuit& c) {
  check(c);
  std::string out = "{\"cfg\": {\"n_layers\": " + std::to_string(c.n_layers) + ", \"n_heads\": " + std::to_string(c.n_heads) +
                    ", \"parallel_attn_mlp\": " + (c.parallel_attn_mlp ? "true" : "false") + ", \"d_model\": " + std::to_string(c.d_model);
  if (const std::set<std::string> extensions = extensions_of(c); !extensions.empty()) out += ", \"extensions\": " + Json(extensions).dump();
  out += "},\n \"nodes\": {\n";
  for (const auto& n : c.nodes) append_mark(out, n.name, n.in_graph, n.score, false, &n == &c.nodes.back());
  out += " },\n \"edges\": {\n";
  for (const auto& e : c.edges) append_mark(out, e.from + "->" + e.to, e.in_graph, e.score, true, &e == &c.edges.back());
  out += " }";
  if (!c.name.empty() || !c.title.empty() || !c.groups.empty()) {
    out += ",\n \"microtome\": {\"name\": " + quoted(c.name) + ", \"title\": " + quoted(c.title) + ", \"groups\": [";
    for (const auto& g : c.groups)
      out += (&g == &c.groups.front() ? "\n  " : ",\n  ") + ("{\"name\": " + quoted(g.name)) + ", \"nodes\": " + Json(g.nodes).dump() + "}";
    out += "]}";
  }
  return out + "\n}\n";
}

Status write_circuit_file(const std::string& path, const Circuit& circuit) {
  std::string text;
  if (Status s = catch_status([&] { text = circuit_to_mib(circuit); }); !s) return s;
  return write_text_file(path, text);
}

}  // namespace microtome
