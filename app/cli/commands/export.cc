// export: what a run holds, in the forms of other programs.
#include <cstdio>
#include <filesystem>
#include <set>

#include "app/cli/commands/commands.h"
#include "app/report/project_report.h"
#include "core/dictionary/formats/format.h"
#include "core/dictionary/stored.h"
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

}  // namespace

int export_command(const CommandLine& line) {
  auto store = open_project(line);
  RunRecord r = store->find_run(line.word(0)).value();
  require_done(r);
  AnalysisResult result = store->result(r.id).value();
  std::string format = line.get("--format", "json"), out = line.get("--out"), artifact = line.get("--artifact");
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
  } else if (format == "saelens" || format == "circuit_tracer" || format == "sparsify") {
    export_dictionaries(r, std::move(result), format, artifact, out);
    return 0;
  } else if (format == "neuronpedia") {
    throw Error(StatusCode::kUnsupported, "run " + std::to_string(r.id) + " holds no features, which 'neuronpedia' describes", "export", "use --format json, csv or safetensors");
  } else {
    export_circuits(line, *store, r, result, format);
    return 0;
  }
  std::fprintf(stderr, "%s written\n", out.c_str());
  return 0;
}

}  // namespace microtome::cli
