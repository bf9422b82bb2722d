#include "core/store/artifact_codec.h"

#include "core/store/feature_codec.h"
#include "core/store/value_codec.h"

namespace microtome {

namespace {

Json encode_numbers(const std::vector<double>& v) {
  Json out = Json::array();
  for (double x : v) out.push_back(encode_number(x));
  return out;
}

std::vector<double> decode_numbers(const Json& v, const char* field, const std::string& where) {
  std::vector<double> out;
  out.reserve(decode_list(v, field, where).size());
  for (const Json& x : v) out.push_back(decode_number(x, field, where));
  return out;
}

Json encode_cell(const Cell& cell) {
  if (const auto* i = std::get_if<int64_t>(&cell)) return Json(*i);
  if (const auto* d = std::get_if<double>(&cell)) return encode_number(*d);
  if (const auto* s = std::get_if<std::string>(&cell)) return encode_text(*s);
  return Json(nullptr);
}

Cell decode_cell(const Json& v, const std::string& where) {
  if (v.is_null()) return std::monostate{};
  if (v.is_number_integer()) return decode_integer(v, "rows", where);
  if (v.is_string() || (v.is_object() && v.contains("__bytes__"))) return decode_text(v, "rows", where);
  return decode_number(v, "rows", where);
}

struct Encoder {
  Json operator()(const Table& t) const {
    Json columns = Json::array(), rows = Json::array();
    for (const Column& c : t.columns) {
      columns.push_back(Json::array({encode_text(c.name), encode_text(c.unit), encode_text(c.help)}));
    }
    for (const auto& row : t.rows) {
      Json cells = Json::array();
      for (const Cell& cell : row) cells.push_back(encode_cell(cell));
      rows.push_back(std::move(cells));
    }
    return {{"name", encode_text(t.name)}, {"title", encode_text(t.title)}, {"columns", columns}, {"rows", rows}};
  }
  Json operator()(const TensorMap& m) const {
    Json labels = Json::array();
    for (const auto& [axis, texts] : m.axis_labels) {
      labels.push_back(Json::array({encode_text(axis), encode_texts(texts)}));
    }
    return {{"name", encode_text(m.name)},
            {"title", encode_text(m.title)},
            {"axis_labels", labels},
            {"looks", encode_text_map(m.looks)}};
  }
  Json operator()(const Series& s) const {
    Json lines = Json::array();
    for (const Series::Line& l : s.lines) {
      lines.push_back({{"name", encode_text(l.name)}, {"x", encode_numbers(l.x)}, {"y", encode_numbers(l.y)}});
    }
    return {{"name", encode_text(s.name)},
            {"title", encode_text(s.title)},
            {"x_label", encode_text(s.x_label)},
            {"y_label", encode_text(s.y_label)},
            {"lines", lines}};
  }
  Json operator()(const Text& t) const {
    return {{"name", encode_text(t.name)}, {"title", encode_text(t.title)}, {"markdown", encode_text(t.markdown)}};
  }
  Json operator()(const Circuit& c) const {
    Json nodes = Json::array(), edges = Json::array();
    for (const Circuit::Node& n : c.nodes) {
      nodes.push_back(Json::array({encode_text(n.name), n.in_graph, encode_number(n.score)}));
    }
    for (const Circuit::Edge& e : c.edges) {
      edges.push_back(Json::array({encode_text(e.from), encode_text(e.to), e.in_graph, encode_number(e.score)}));
    }
    Json out = {{"name", encode_text(c.name)}, {"title", encode_text(c.title)},
                {"n_layers", c.n_layers},      {"n_heads", c.n_heads},
                {"d_model", c.d_model},        {"parallel_attn_mlp", c.parallel_attn_mlp},
                {"nodes", nodes},              {"edges", edges}};
    // Absent where there are none: circuits stored before there were groups have the same text.
    for (const Circuit::Group& g : c.groups) {
      out["groups"].push_back(Json::array({encode_text(g.name), encode_texts(g.nodes)}));
    }
    return out;
  }
  Json operator()(const FeatureSet& f) const { return encode_features_head(f); }
  Json operator()(const AttributionGraph& g) const { return encode_graph(g); }
};

// Reads the fields of one stored object.
struct Fields {
  const Json& object;
  const std::string& where;
  const Json& at(const char* f) const { return decode_field(object, f, where); }
  std::string text(const char* f) const { return decode_text(at(f), f, where); }
  int64_t integer(const char* f) const { return decode_integer(at(f), f, where); }
  bool boolean(const char* f) const { return decode_bool(at(f), f, where); }
  const Json& list(const char* f) const { return decode_list(at(f), f, where); }
};

Table decode_table(const Fields& f) {
  Table t;
  t.name = f.text("name");
  t.title = f.text("title");
  for (const Json& c : f.list("columns")) {
    decode_list(c, 3, "columns", f.where);
    t.columns.push_back({decode_text(c[0], "columns", f.where), decode_text(c[1], "columns", f.where),
                         decode_text(c[2], "columns", f.where)});
  }
  for (const Json& r : f.list("rows")) {
    decode_list(r, t.columns.size(), "rows", f.where);
    std::vector<Cell> row;
    row.reserve(r.size());
    for (const Json& cell : r) row.push_back(decode_cell(cell, f.where));
    t.rows.push_back(std::move(row));
  }
  return t;
}

TensorMap decode_tensor_map(const Fields& f, std::vector<NamedArray> arrays) {
  TensorMap m;
  m.name = f.text("name");
  m.title = f.text("title");
  for (const Json& pair : f.list("axis_labels")) {
    decode_list(pair, 2, "axis_labels", f.where);
    m.axis_labels[decode_text(pair[0], "axis_labels", f.where)] = decode_texts(pair[1], "axis_labels", f.where);
  }
  m.looks = decode_text_map(f.at("looks"), "looks", f.where);
  m.arrays = std::move(arrays);
  return m;
}

Series decode_series(const Fields& f) {
  Series s;
  s.name = f.text("name");
  s.title = f.text("title");
  s.x_label = f.text("x_label");
  s.y_label = f.text("y_label");
  for (const Json& l : f.list("lines")) {
    Fields line{l, f.where};
    s.lines.push_back({line.text("name"), decode_numbers(line.at("x"), "x", f.where),
                       decode_numbers(line.at("y"), "y", f.where)});
  }
  return s;
}

Circuit decode_circuit(const Fields& f) {
  Circuit c;
  c.name = f.text("name");
  c.title = f.text("title");
  c.n_layers = f.integer("n_layers");
  c.n_heads = f.integer("n_heads");
  c.d_model = f.integer("d_model");
  c.parallel_attn_mlp = f.boolean("parallel_attn_mlp");
  for (const Json& n : f.list("nodes")) {
    decode_list(n, 3, "nodes", f.where);
    c.nodes.push_back({decode_text(n[0], "nodes", f.where), decode_bool(n[1], "nodes", f.where),
                       decode_number(n[2], "nodes", f.where)});
  }
  for (const Json& e : f.list("edges")) {
    decode_list(e, 4, "edges", f.where);
    c.edges.push_back({decode_text(e[0], "edges", f.where), decode_text(e[1], "edges", f.where),
                       decode_bool(e[2], "edges", f.where), decode_number(e[3], "edges", f.where)});
  }
  if (!f.object.contains("groups")) return c;
  for (const Json& g : f.list("groups")) {
    decode_list(g, 2, "groups", f.where);
    c.groups.push_back({decode_text(g[0], "groups", f.where), decode_texts(g[1], "groups", f.where)});
  }
  return c;
}

}  // namespace

std::string encode_artifact(const Artifact& artifact, const std::string& where) {
  if (const auto* table = std::get_if<Table>(&artifact)) {
    for (const auto& row : table->rows) {
      if (row.size() != table->columns.size()) {
        throw Error(StatusCode::kInternal, "a row of table '" + table->name + "' is not as long as its columns", where);
      }
    }
  }
  return dump_for_store(std::visit(Encoder{}, artifact), where);
}

Artifact decode_artifact(const std::string& kind, const std::string& body, std::vector<NamedArray> arrays,
                         const std::string& where) {
  Json object = parse_stored(body, where);
  Fields f{object, where};
  if (kind == "table") return decode_table(f);
  if (kind == "tensors") return decode_tensor_map(f, std::move(arrays));
  if (kind == "series") return decode_series(f);
  if (kind == "text") return Text{f.text("name"), f.text("title"), f.text("markdown")};
  if (kind == "circuit") return decode_circuit(f);
  if (kind == "features") return decode_features_head(object, where);
  if (kind == "attribution_graph") return decode_graph(object, where);
  throw Error(StatusCode::kBadInput, "the project holds an artifact of a kind this program does not know", where,
              "open it with a newer microtome");
}

std::string encode_head(const AnalysisResult& result, const std::string& where) {
  Json summary = Json::array();
  for (const SummaryItem& s : result.summary) {
    summary.push_back({{"name", encode_text(s.name)},
                       {"value", encode_number(s.value)},
                       {"unit", encode_text(s.unit)},
                       {"help", encode_text(s.help)},
                       {"low", encode_number(s.low)},
                       {"high", encode_number(s.high)},
                       {"n", s.n}});
  }
  return dump_for_store({{"summary", summary},
                         {"findings", encode_texts(result.findings)},
                         {"warnings", encode_texts(result.warnings)}},
                        where);
}

AnalysisResult decode_head(const std::string& head, const std::string& where) {
  Json object = parse_stored(head, where);
  Fields f{object, where};
  AnalysisResult result;
  for (const Json& item : f.list("summary")) {
    Fields s{item, where};
    SummaryItem out;
    out.name = s.text("name");
    out.value = decode_number(s.at("value"), "value", where);
    out.unit = s.text("unit");
    out.help = s.text("help");
    out.low = decode_number(s.at("low"), "low", where);
    out.high = decode_number(s.at("high"), "high", where);
    out.n = s.integer("n");
    result.summary.push_back(std::move(out));
  }
  result.findings = decode_texts(f.at("findings"), "findings", where);
  result.warnings = decode_texts(f.at("warnings"), "warnings", where);
  return result;
}

std::string encode_spec(const RunSpec& spec, const std::string& where) {
  return dump_for_store({{"analysis", encode_text(spec.analysis)},
                         {"analysis_version", spec.analysis_version},
                         {"answer_params", encode_text_map(spec.answer_params)},
                         {"cost_params", encode_text_map(spec.cost_params)},
                         {"model_path", encode_text(spec.model_path)},
                         {"model_name", encode_text(spec.model_name)},
                         {"family", encode_text(spec.family)},
                         {"weights_hash", encode_text(spec.weights_hash)},
                         {"tokenizer_hash", encode_text(spec.tokenizer_hash)},
                         {"dataset_name", encode_text(spec.dataset_name)},
                         {"dataset_hash", encode_text(spec.dataset_hash)},
                         {"form", encode_text(spec.form)},
                         {"dtype", encode_text(spec.dtype)},
                         {"bos", encode_text(spec.bos)},
                         {"tf32", spec.tf32},
                         {"seed", spec.seed},
                         {"interventions", encode_text(spec.interventions)},
                         {"plugin_hash", encode_text(spec.plugin_hash)},
                         {"command", encode_text(spec.command)},
                         {"device", encode_text(spec.device)}},
                        where);
}

RunSpec decode_spec(const std::string& text, const std::string& where) {
  Json object = parse_stored(text, where);
  Fields f{object, where};
  RunSpec s;
  s.analysis = f.text("analysis");
  s.analysis_version = f.integer("analysis_version");
  s.answer_params = decode_text_map(f.at("answer_params"), "answer_params", where);
  s.cost_params = decode_text_map(f.at("cost_params"), "cost_params", where);
  s.model_path = f.text("model_path");
  s.model_name = f.text("model_name");
  s.family = f.text("family");
  s.weights_hash = f.text("weights_hash");
  s.tokenizer_hash = f.text("tokenizer_hash");
  s.dataset_name = f.text("dataset_name");
  s.dataset_hash = f.text("dataset_hash");
  s.form = f.text("form");
  s.dtype = f.text("dtype");
  s.bos = f.text("bos");
  s.tf32 = f.boolean("tf32");
  const Json& seed = f.at("seed");
  // Seeds use all 64 bits, so they may be above what a signed integer holds.
  if (!seed.is_number_unsigned()) decode_integer(seed, "seed", where);
  s.seed = seed.get<uint64_t>();
  s.interventions = f.text("interventions");
  s.plugin_hash = f.text("plugin_hash");
  s.command = f.text("command");
  s.device = f.text("device");
  return s;
}

}  // namespace microtome
