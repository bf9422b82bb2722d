#include "app/engine/plugin_analyses.h"

#include "analysis/engine/arrays.h"
#include "analysis/engine/prompts.h"
#include "plugins/host/plugin_run.h"

namespace microtome::app {
namespace {

AnalysisInfo info_of(const plugins::PluginAnalysis& a) {
  AnalysisInfo info;
  info.name = a.name;
  info.version = a.version;
  info.title = a.title;
  info.definition = a.definition;
  info.source = a.source;
  info.prompts = a.prompts == MICROTOME_PROMPTS_NONE    ? AnalysisInfo::Prompts::kNone
                 : a.prompts == MICROTOME_PROMPTS_CLEAN ? AnalysisInfo::Prompts::kClean
                                                        : AnalysisInfo::Prompts::kPairs;
  for (const auto& o : a.outputs) info.outputs.push_back({o.name, o.axes, o.help});
  return info;
}

class PluginAnalysisRun final : public AnalysisRun {
 public:
  PluginAnalysisRun(const std::shared_ptr<const plugins::Plugin>& plugin, const plugins::PluginAnalysis& analysis,
                    const AnalysisInput& input)
      : run_(plugin, analysis,
             {input.model, input.tokenizer, input.dataset, input.params, input.seed, input.form, engine::summarise}) {}

  int64_t item_count() const override { return run_.item_count(); }
  std::string item_title(int64_t item) const override { return run_.item_title(item); }
  std::vector<NamedArray> run_item(int64_t item, Progress& progress) override { return run_.run_item(item, progress); }
  AnalysisResult finish(const std::vector<std::vector<NamedArray>>& items) override { return run_.finish(items); }
  void set_batch(int64_t rows) override { run_.set_batch(rows); }

 private:
  plugins::PluginRun run_;
};

}  // namespace

AnalysisCatalogue load_analyses(std::vector<plugins::Folder> folders) {
  AnalysisCatalogue out;
  out.registry = analyses::builtin();
  out.folders = std::move(folders);
  std::set<std::string> taken;
  for (const AnalysisKind* k : out.registry.all()) taken.insert(k->info.name);
  plugins::Loaded loaded = plugins::load_plugins(out.folders, std::move(taken));
  out.plugins = std::move(loaded.plugins);
  out.problems = std::move(loaded.problems);
  for (const auto& plugin : out.plugins)
    for (const plugins::PluginAnalysis& a : plugin->analyses) {
      AnalysisKind kind;
      kind.info = info_of(a);
      kind.schema = a.schema;
      kind.plugin_file = plugin->file;
      kind.plugin_hash = plugin->hash;
      // The plug-in, and so `a`, lives as long as the kind.
      kind.start = [plugin, &a, info = kind.info](const AnalysisInput& input) -> std::unique_ptr<AnalysisRun> {
        engine::require_prompts(input, info, a.needs_answers);
        return std::make_unique<PluginAnalysisRun>(plugin, a, input);
      };
      out.registry.add(std::move(kind));
    }
  return out;
}

const AnalysisKind& find_analysis(const AnalysisCatalogue& catalogue, const std::string& name,
                                  const std::string& where) {
  if (const AnalysisKind* kind = catalogue.registry.find(name)) return *kind;
  std::string todo = "known are " + catalogue.registry.names();
  if (size_t n = catalogue.problems.size())
    todo += "; " + std::to_string(n) + (n == 1 ? " plug-in problem" : " plug-in problems") +
            " (`microtome doctor` lists them)";
  throw Error(StatusCode::kNotFound, "there is no analysis '" + name + "'", where, todo);
}

}  // namespace microtome::app
