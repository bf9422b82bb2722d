#include "core/store/result_json.h"

#include "core/store/feature_codec.h"

#include <charconv>
#include <cmath>

#include "core/store/value_codec.h"

namespace microtome {

namespace {

template <class T>
std::string shortest(T v) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(v)) return "nan";
    if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  }
  char text[40];
  auto end = std::to_chars(text, text + sizeof text, v);
  return std::string(text, end.ptr);
}

Json parameter_json(const std::string& text) {
  if (text == "true" || text == "false") return Json(text == "true");
  const char* end = text.data() + text.size();
  int64_t i = 0;
  auto whole = std::from_chars(text.data(), end, i);
  if (whole.ec == std::errc() && whole.ptr == end && std::to_string(i) == text) return Json(i);
  double d = 0;
  auto real = std::from_chars(text.data(), end, d);
  if (real.ec == std::errc() && real.ptr == end && std::isfinite(d) && shortest(d) == text) return Json(d);
  return plain_text(text);
}

Json parameters_json(const RunSpec& spec) {
  Json out = Json::object();
  for (const auto* params : {&spec.answer_params, &spec.cost_params}) {
    for (const auto& [name, value] : *params) out[plain_text(name).get<std::string>()] = parameter_json(value);
  }
  return out;
}

Json texts_json(const std::vector<std::string>& texts) {
  Json out = Json::array();
  for (const std::string& t : texts) out.push_back(plain_text(t));
  return out;
}

Json numbers_json(const std::vector<double>& v) {
  Json out = Json::array();
  for (double x : v) out.push_back(plain_number(x));
  return out;
}

Json cell_json(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return Json(*i);
  if (const auto* d = std::get_if<double>(&cell)) return plain_number(*d);
  if (const auto* s = std::get_if<std::string>(&cell)) return plain_text(*s);
  return Json(nullptr);
}

const char* array_dtype(const NamedArray& a) {
  static const char* const kNames[] = {"float32", "float64", "int64"};
  return kNames[a.data.index()];
}

// Adds one artifact to the list of its kind.
struct Adder {
  Json& out;
  void operator()(const Table& t) const {
    Json columns = Json::array(), rows = Json::array();
    for (const Column& c : t.columns) {
      columns.push_back({{"name", plain_text(c.name)}, {"unit", plain_text(c.unit)}, {"help", plain_text(c.help)}});
    }
    for (const auto& row : t.rows) {
      Json cells = Json::array();
      for (const Cell& cell : row) cells.push_back(cell_json(cell));
      rows.push_back(std::move(cells));
    }
    out["tables"].push_back(
        {{"name", plain_text(t.name)}, {"title", plain_text(t.title)}, {"columns", columns}, {"rows", rows}});
  }
  void operator()(const TensorMap& m) const {
    for (const NamedArray& a : m.arrays) {
      Json entry = {{"name", plain_text(a.name)}, {"artifact", plain_text(m.name)}, {"axes", texts_json(a.axes)},
                    {"shape", a.shape},           {"dtype", array_dtype(a)},        {"unit", plain_text(a.unit)},
                    {"help", plain_text(a.help)}};
      out["tensors"].push_back(std::move(entry));
    }
  }
  void operator()(const Series& s) const {
    Json lines = Json::array();
    for (const Series::Line& l : s.lines) {
      lines.push_back({{"name", plain_text(l.name)}, {"x", numbers_json(l.x)}, {"y", numbers_json(l.y)}});
    }
    out["series"].push_back({{"name", plain_text(s.name)},
                             {"title", plain_text(s.title)},
                             {"x_label", plain_text(s.x_label)},
                             {"y_label", plain_text(s.y_label)},
                             {"lines", lines}});
  }
  void operator()(const Text& t) const {
    out["texts"].push_back(
        {{"name", plain_text(t.name)}, {"title", plain_text(t.title)}, {"markdown", plain_text(t.markdown)}});
  }
  void operator()(const Circuit& c) const {
    Json nodes = Json::array(), edges = Json::array(), groups = Json::array();
    for (const Circuit::Group& g : c.groups) {
      groups.push_back({{"name", plain_text(g.name)}, {"nodes", texts_json(g.nodes)}});
    }
    for (const Circuit::Node& n : c.nodes) {
      nodes.push_back({{"name", plain_text(n.name)}, {"in_graph", n.in_graph}, {"score", plain_number(n.score)}});
    }
    for (const Circuit::Edge& e : c.edges) {
      edges.push_back({{"from", plain_text(e.from)},
                       {"to", plain_text(e.to)},
                       {"in_graph", e.in_graph},
                       {"score", plain_number(e.score)}});
    }
    out["circuits"].push_back({{"name", plain_text(c.name)},
                               {"title", plain_text(c.title)},
                               {"n_layers", c.n_layers},
                               {"n_heads", c.n_heads},
                               {"d_model", c.d_model},
                               {"parallel_attn_mlp", c.parallel_attn_mlp},
                               {"nodes", nodes},
                               {"edges", edges},
                               {"groups", groups}});
  }
  void operator()(const FeatureSet& f) const { out["features"].push_back(features_json(f)); }
  void operator()(const AttributionGraph& g) const { out["attribution_graphs"].push_back(graph_json(g)); }
};

Json provenance_json(const RunRecord& run) {
  const RunSpec& s = run.spec;
  Result<Json> interventions = parse_json(s.interventions, "interventions");
  Json key = Json::object();
  for (const auto& [tag, value] : parse_key_text(run.key_text)) {
    key[plain_text(tag).get<std::string>()] = plain_text(value);
  }
  return {{"model", {{"name", plain_text(s.model_name)},
                     {"path", plain_text(s.model_path)},
                     {"family", plain_text(s.family)},
                     {"weights_hash", plain_text(s.weights_hash)},
                     {"tokenizer_hash", plain_text(s.tokenizer_hash)}}},
          {"dataset", {{"name", plain_text(s.dataset_name)}, {"hash", plain_text(s.dataset_hash)}}},
          {"analysis_version", s.analysis_version},
          {"form", plain_text(s.form)},
          {"dtype", plain_text(s.dtype)},
          {"tf32", s.tf32},
          {"bos", plain_text(s.bos)},
          {"seed", s.seed},
          {"interventions", interventions ? *interventions : plain_text(s.interventions)},
          {"plugin_hash", plain_text(s.plugin_hash)},
          {"device", plain_text(s.device)},
          {"command", plain_text(run.command)},
          {"created", plain_text(run.created)},
          {"items", run.items_total},
          {"key_fields", key}};
}

void append_csv_text(std::string& out, const std::string& text) {
  const bool plain = !text.empty() && text.find_first_of(",\"\r\n") == std::string::npos;
  if (plain && text.front() != ' ' && text.back() != ' ') {
    out += text;
    return;
  }
  out += '"';
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

}  // namespace

Json result_to_json(const RunRecord& run, const AnalysisResult& result) {
  Json out = {{"format", "microtome-result-1"},
              {"analysis", plain_text(run.analysis)},
              {"title", plain_text(run.title)},
              {"key", plain_text(run.key_hash)}};
  Json summary = Json::array();
  for (const SummaryItem& s : result.summary) {
    summary.push_back({{"name", plain_text(s.name)},
                       {"value", plain_number(s.value)},
                       {"unit", plain_text(s.unit)},
                       {"help", plain_text(s.help)},
                       {"low", plain_number(s.low)},
                       {"high", plain_number(s.high)},
                       {"n", s.n}});
  }
  out["summary"] = std::move(summary);
  out["findings"] = texts_json(result.findings);
  out["warnings"] = texts_json(result.warnings);
  for (const char* kind : {"tables", "series", "texts", "circuits", "tensors"}) out[kind] = Json::array();
  for (const Artifact& a : result.artifacts) std::visit(Adder{out}, a);
  out["parameters"] = parameters_json(run.spec);
  out["provenance"] = provenance_json(run);
  return out;
}

std::string table_to_csv(const Table& table) {
  std::string out;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    if (c) out += ',';
    append_csv_text(out, table.columns[c].name);
  }
  out += '\n';
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      if (c) out += ',';
      if (const auto* i = std::get_if<int64_t>(&row[c])) out += shortest(*i);
      if (const auto* d = std::get_if<double>(&row[c])) out += shortest(*d);
      if (const auto* s = std::get_if<std::string>(&row[c])) append_csv_text(out, *s);
    }
    out += '\n';
  }
  return out;
}

std::string arrays_to_csv(const NamedArray& array) {
  const int64_t n = std::visit([](const auto& v) { return static_cast<int64_t>(v.size()); }, array.data);
  bool sound = array.axes.size() == array.shape.size();
  uint64_t product = 1;
  bool overflow = false;
  for (int64_t d : array.shape) {
    overflow |= d < 0 || __builtin_mul_overflow(product, static_cast<uint64_t>(d), &product);
  }
  if (!sound || overflow || product != static_cast<uint64_t>(n)) {
    throw Error(StatusCode::kInternal, "array '" + array.name + "' holds " + std::to_string(n) +
                                           " numbers, which is not what its axes and shape say");
  }
  std::string out;
  for (const std::string& axis : array.axes) {
    append_csv_text(out, axis);
    out += ',';
  }
  out += "value\n";
  std::vector<int64_t> index(array.shape.size(), 0);
  for (int64_t flat = 0; flat < n; ++flat) {
    for (int64_t i : index) {
      out += shortest(i);
      out += ',';
    }
    std::visit([&](const auto& v) { out += shortest(v[static_cast<size_t>(flat)]); }, array.data);
    out += '\n';
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < array.shape[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace microtome
