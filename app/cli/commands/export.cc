// export: what a run holds, in the forms of other programs.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "app/cli/commands/commands.h"
#include "app/engine/trained_dictionaries.h"
#include "app/report/attribution_svg.h"
#include "app/report/project_report.h"
#include "core/dictionary/formats/format.h"
#include "core/dictionary/stored.h"
#include "core/io/attribution_file.h"
#include "core/io/safetensors.h"
#include "core/store/result_json.h"

namespace microtome::cli {
namespace {

// A file name made of a result's name: letters, digits, '.', '_' and '-' only.
std::string safe_name(std::string s) {
  for (char& c : s)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.') c = '_';
  if (s.size() > 100) s.resize(100);
  return s.empty() || s[0] == '.' ? "_" + s : s;
}

// Files of one folder under names that differ.
class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {
    std::error_code ec;
    std::filesystem::create_directories(path_, ec);
    if (ec) throw Error(StatusCode::kFailed, "the folder cannot be made: " + ec.message(), path_, "choose another --out");
  }
  void write(const std::string& name, const std::string& ending, const std::string& text) {
    std::string file = safe_name(name);
    for (int n = 2; !names_.insert(file).second; ++n) file = safe_name(name) + "-" + std::to_string(n);
    check(write_text_file(path_ + "/" + file + ending, text));
  }
  void say() const { std::fprintf(stderr, "%zu files in %s\n", names_.size(), path_.c_str()); }

 private:
  std::string path_;
  std::set<std::string> names_;
};

void export_csv(const AnalysisResult& result, const std::string& artifact, const std::string& out) {
  Folder folder(out);
  for (const Artifact& a : result.artifacts) {
    if (!artifact.empty() && artifact_name(a) != artifact) continue;
    if (const auto* t = std::get_if<Table>(&a)) folder.write(t->name, ".csv", table_to_csv(*t));
    if (const auto* g = std::get_if<AttributionGraph>(&a)) folder.write(g->name, ".csv", report::attribution_csv(*g));
    if (const auto* c = std::get_if<Circuit>(&a)) folder.write(c->name, ".csv", circuit_text(*c, "csv", true, {}));
    if (const auto* m = std::get_if<TensorMap>(&a))
      for (const NamedArray& n : m->arrays) folder.write(m->name + "." + n.name, ".csv", arrays_to_csv(n));
  }
  folder.say();
}

void export_dictionaries(const RunRecord& r, AnalysisResult result, const std::string& format, const std::string& artifact, const std::string& out) {
  if (!artifact.empty()) std::erase_if(result.artifacts, [&](const Artifact& a) { return artifact_name(a) != artifact; });
  bool any = false;
  for (const Artifact& a : result.artifacts)
    if (const auto* m = std::get_if<TensorMap>(&a)) any = any || is_dictionary(*m);
  const std::string run = "run " + std::to_string(r.id);
  if (!any)
    throw Error(artifact.empty() ? StatusCode::kUnsupported : StatusCode::kNotFound, run + " holds no dictionary" + (artifact.empty() ? ", which '" + format + "' describes" : " '" + artifact + "'"), "export",
                artifact.empty() ? "use --format json, csv or safetensors" : "`microtome show " + std::to_string(r.id) + "` lists what it holds");
  const DictionarySet set = dictionaries_of(result, run);
  write_dictionaries(set, format, out);
  std::fprintf(stderr, "%s: %zu %s\n", out.c_str(), set.members.size(), set.members.size() == 1 ? "dictionary" : "dictionaries");
}

void export_circuits(const CommandLine& line, ResultStore& store, const RunRecord& r, const AnalysisResult& result, const std::string& format) {
  const std::string artifact = line.get("--artifact"), out = line.get("--out"), ending = format == "mib" ? ".json" : "." + format;
  std::vector<const Circuit*> circuits;
  for (const Artifact& a : result.artifacts)
    if (const auto* c = std::get_if<Circuit>(&a); c && (artifact.empty() || c->name == artifact)) circuits.push_back(c);
  if (circuits.empty())
    throw Error(artifact.empty() ? StatusCode::kUnsupported : StatusCode::kNotFound,
                "run " + std::to_string(r.id) + " holds no circuit" + (artifact.empty() ? ", which '" + format + "' describes" : " '" + artifact + "'"), "export",
                artifact.empty() ? "use --format json, csv or safetensors" : "`microtome show " + std::to_string(r.id) + "` lists what it holds");
  const Json context = report::load_run(store, r).context;
  const auto text = [&](const Circuit& c) { return circuit_text(c, format, line.flag("--all-edges"), context); };
  if (circuits.size() == 1) {
    check(write_text_file(out, text(*circuits[0])));
    std::fprintf(stderr, "%s written\n", out.c_str());
    return;
  }
  Folder folder(out);
  for (const Circuit* c : circuits) folder.write(c->name, ending, text(*c));
  folder.say();
}

std::vector<const AttributionGraph*> graphs_of(const AnalysisResult& result, const std::string& artifact) {
  std::vector<const AttributionGraph*> out;
  for (const Artifact& a : result.artifacts)
    if (const auto* g = std::get_if<AttributionGraph>(&a); g && (artifact.empty() || g->name == artifact)) out.push_back(g);
  return out;
}

// What Neuronpedia calls influence is kept beside the graph.
std::vector<double> cumulative_of(const AnalysisResult& result, const AttributionGraph& g) {
  for (const Artifact& a : result.artifacts)
    if (const auto* m = std::get_if<TensorMap>(&a); m && m->name == g.name + " nodes")
      for (const NamedArray& n : m->arrays)
        if (n.name == "cumulative" && n.size() == static_cast<int64_t>(g.nodes.size()))
          if (const auto* v = std::get_if<std::vector<double>>(&n.data)) return *v;
  return {};
}

int64_t most_bytes(const std::string& megabytes) {
  double v = 0;
  const auto [end, error] = std::from_chars(megabytes.data(), megabytes.data() + megabytes.size(), v);
  if (error != std::errc() || end != megabytes.data() + megabytes.size() || !(v > 0) || v > 1e6)
    throw Error(StatusCode::kBadInput, "'" + megabytes.substr(0, 60) + "' is no number of megabytes", "option --max-size", "write a number above 0: --max-size 20");
  return static_cast<int64_t>(v * 1e6);
}

std::string graph_text(const CommandLine& line, const RunRecord& r, const AnalysisResult& result, const AttributionGraph& g, const std::string& format) {
  if (format == "dot") return report::attribution_dot(g);
  if (format == "graphml") return report::attribution_graphml(g);
  if (format == "svg") {
    report::AttributionLook look;
    look.standalone = true;
    return report::attribution_svg(g, look).svg + "\n";
  }
  NeuronpediaOptions options;
  options.slug = line.get("--slug", safe_name(r.model_name + "-" + r.dataset_name + "-" + std::to_string(r.id) + (g.name == "graph" ? "" : "-" + g.name)));
  options.scan = line.get("--scan", r.model_name);
  options.max_bytes = most_bytes(line.get("--max-size", "20"));
  options.cumulative = cumulative_of(result, g);
  for (const auto& [name, param] : {std::pair("max_n_logits", "max_logits"), {"desired_logit_prob", "logit_mass"}, {"max_feature_nodes", "max_features"}})
    if (auto it = r.spec.answer_params.find(param); it != r.spec.answer_params.end()) options.settings[name] = std::strtod(it->second.c_str(), nullptr);
  const NeuronpediaText text = graph_to_neuronpedia(g, options);
  std::fprintf(stderr, "%zu nodes, %zu links", text.nodes, text.links);
  if (text.links_left_out > 0) std::fprintf(stderr, "; %zu weaker links and %zu nodes left out to stay below --max-size", text.links_left_out, text.nodes_left_out);
  std::fprintf(stderr, "\n");
  return text.json;
}

// The graphs of a run that can be written so; false: it holds none.
bool export_graphs(const CommandLine& line, const RunRecord& r, const AnalysisResult& result, const std::string& format) {
  const std::vector<const AttributionGraph*> graphs = graphs_of(result, line.get("--artifact"));
  if (graphs.empty() || (format != "neuronpedia" && format != "dot" && format != "svg" && format != "graphml")) return false;
  const std::string out = line.get("--out");
  if (graphs.size() == 1) {
    check(write_text_file(out, graph_text(line, r, result, *graphs[0], format)));
    std::fprintf(stderr, "%s written\n", out.c_str());
    return true;
  }
  Folder folder(out);
  for (const AttributionGraph* g : graphs) folder.write(g->name, format == "neuronpedia" ? ".json" : "." + format, graph_text(line, r, result, *g, format));
  folder.say();
  return true;
}

// Why a run is not done, in brackets.
std::string why_not_done(ResultStore& store, const RunRecord& r) {
  const std::vector<AttemptRecord> attempts = store.attempts(r.id).value();
  const std::string error = attempts.empty() ? "" : attempts.back().error;
  if (error.rfind("cancelled", 0) == 0) return "paused";
  // Without the place and the advice behind it.
  return error.empty() ? "stopped" : "failed: " + error.substr(0, error.find(" ("));
}

// A training that was paused or went wrong has kept its last good checkpoint.
void export_checkpoint(ResultStore& store, const RunRecord& r, const std::string& format, const std::string& artifact, const std::string& out) {
  std::optional<training::Kept> kept = app::kept_training(store, r.id, true);
  if (!kept) require_done(r);
  export_dictionaries(r, std::move(kept->result), format, artifact, out);
  std::fprintf(stderr, "run %lld is not done (%s): these are the dictionaries of its last checkpoint, step %lld of %lld\n", static_cast<long long>(r.id), why_not_done(store, r).c_str(),
               static_cast<long long>(kept->step), static_cast<long long>(kept->steps));
}

}  // namespace

int export_command(const CommandLine& line) {
  auto store = open_project(line);
  RunRecord r = store->find_run(line.word(0)).value();
  std::string format = line.get("--format", "json"), out = line.get("--out"), artifact = line.get("--artifact");
  const bool dictionaries = format == "saelens" || format == "circuit_tracer" || format == "sparsify";
  if (dictionaries && r.state != RunStatus::kDone) {
    export_checkpoint(*store, r, format, artifact, out);
    return 0;
  }
  require_done(r);
  AnalysisResult result = store->result(r.id).value();
  if (format == "json") {
    check(write_text_file(out, result_to_json(r, result).dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
  } else if (format == "safetensors") {
    std::vector<NamedArray> arrays;
    for (const Artifact& a : result.artifacts)
      if (const auto* m = std::get_if<TensorMap>(&a); m && (artifact.empty() || m->name == artifact))
        for (NamedArray n : m->arrays) {
          n.name = m->name + "." + n.name;
          arrays.push_back(std::move(n));
        }
    if (arrays.empty()) throw Error(StatusCode::kBadInput, "the run has no tensors", "export", "use --format json or csv");
    check(write_arrays(out, arrays));
  } else if (format == "csv") {
    export_csv(result, artifact, out);
    return 0;
  } else if (export_graphs(line, r, result, format)) {
    return 0;
  } else if (dictionaries) {
    export_dictionaries(r, std::move(result), format, artifact, out);
    return 0;
  } else if (format == "neuronpedia") {
    throw Error(StatusCode::kUnsupported, "run " + std::to_string(r.id) + " holds no attribution graph, which 'neuronpedia' describes", "export", "use --format json, csv or safetensors");
  } else {
    export_circuits(line, *store, r, result, format);
    return 0;
  }
  std::fprintf(stderr, "%s written\n", out.c_str());
  return 0;
}

}  // namespace microtome::cli
