#include "app/report/report_index.h"

#include <algorithm>
#include <map>
#include <set>

#include "app/report/html.h"

namespace microtome::report {
namespace {

constexpr size_t kMaxLayers = 4096, kMaxTokens = 4096;

std::vector<MixerKind> layer_kinds(const Json* facts) {
  std::vector<MixerKind> out;
  const Json* layers = facts ? find_key(*facts, "layers") : nullptr;
  if (!layers || !layers->is_array()) return out;
  for (const Json& layer : *layers) {
    if (out.size() >= kMaxLayers) break;
    std::string kind = text_at(layer, "kind");
    out.push_back(kind == "softmax"     ? MixerKind::kSoftmax
                  : kind == "recurrent" ? MixerKind::kRecurrent
                                        : MixerKind::kNone);
  }
  return out;
}

std::string model_name(const ReportRun& run) {
  if (!run.record.model_name.empty()) return run.record.model_name;
  if (!run.record.spec.model_name.empty()) return run.record.spec.model_name;
  const Json* facts = find_key(run.context, "model");
  return facts ? text_at(*facts, "name", "unnamed model") : "unnamed model";
}

std::string dataset_of(const RunRecord& r) {
  if (!r.spec.dataset_hash.empty()) return r.spec.dataset_hash;
  return r.dataset_name.empty() ? r.spec.dataset_name : r.dataset_name;
}

std::string dataset_label(const RunRecord& r) {
  if (!r.dataset_name.empty()) return r.dataset_name;
  return r.spec.dataset_name.empty() ? "no data set" : r.spec.dataset_name;
}

// Same question: data set and answer parameters.
std::string set_key(const RunRecord& r) { return dataset_of(r) + "\n" + params_text(r); }

// Names what differs between the sets of one analysis.
void name_sets(AnalysisGroup& group) {
  if (group.sets.size() < 2) return;
  std::map<std::string, std::set<std::string>> values;
  std::set<std::string> datasets;
  for (const RunSet& s : group.sets) {
    const RunRecord& r = s.columns.front().run->record;
    datasets.insert(dataset_of(r));
    for (const auto& [k, v] : r.spec.answer_params) values[k].insert(v);
  }
  auto everywhere = [&](const std::string& k) {
    return std::all_of(group.sets.begin(), group.sets.end(),
                       [&](const RunSet& s) { return s.columns.front().run->record.spec.answer_params.count(k) != 0; });
  };
  for (RunSet& s : group.sets) {
    const RunRecord& r = s.columns.front().run->record;
    std::string heading = datasets.size() > 1 ? dataset_label(r) : "";
    for (const auto& [k, v] : r.spec.answer_params) {
      if (values[k].size() < 2 && everywhere(k)) continue;
      heading += (heading.empty() ? "" : ", ") + k + " = " + v;
    }
    s.heading = heading.empty() ? "run " + std::to_string(r.id) : heading;
  }
}

}  // namespace

MixerKind ModelFacts::kind(int64_t layer) const {
  return layer >= 0 && layer < static_cast<int64_t>(layers.size()) ? layers[layer] : MixerKind::kNone;
}

MixerKind ModelFacts::whole() const {
  if (layers.empty()) return MixerKind::kNone;
  bool same = std::all_of(layers.begin(), layers.end(), [&](MixerKind k) { return k == layers.front(); });
  return same ? layers.front() : MixerKind::kNone;
}

bool ModelFacts::hybrid() const {
  auto has = [&](MixerKind k) { return std::find(layers.begin(), layers.end(), k) != layers.end(); };
  return has(MixerKind::kSoftmax) && has(MixerKind::kRecurrent);
}

std::vector<std::string> token_list(const Json* list) {
  std::vector<std::string> out;
  if (!list || !list->is_array()) return out;
  for (const Json& t : *list) {
    if (out.size() >= kMaxTokens) break;
    out.push_back(scalar_text(t));
  }
  return out;
}

std::vector<std::string> first_prompt_tokens(const ReportRun& run) {
  const Json* prompts = find_key(run.context, "prompts");
  if (!prompts || !prompts->is_array() || prompts->empty()) return {};
  return token_list(find_key((*prompts)[0], "clean"));
}

std::string params_text(const RunRecord& record) {
  std::string out;
  for (const auto& [k, v] : record.spec.answer_params) out += (out.empty() ? "" : ", ") + k + "=" + v;
  return out;
}

std::string unfinished_text(const RunRecord& r) {
  if (r.state == RunStatus::kDone) return {};
  std::string what = r.state == RunStatus::kFailed ? "This run failed" : "This run is not finished";
  return what + ": " + count(r.items_done) + " of " + count(r.items_total) +
         " items are done, and its numbers are of these alone.";
}

std::string short_hash(const std::string& hash) { return hash.substr(0, 12); }

ReportIndex make_index(const std::vector<ReportRun>& runs) {
  ReportIndex index;
  std::map<std::pair<std::string, std::string>, size_t> model_of;
  std::map<std::string, size_t> group_of;
  std::map<std::string, std::map<std::string, size_t>> set_of;
  std::set<std::string> prompts_seen;
  for (const ReportRun& run : runs) {
    const RunRecord& r = run.record;
    std::string name = model_name(run);
    auto [m, new_model] = model_of.try_emplace({name, r.spec.weights_hash}, index.models.size());
    if (new_model) {
      ModelFacts facts;
      facts.label = name;
      facts.weights_hash = r.spec.weights_hash;
      facts.record = &r;
      index.models.push_back(std::move(facts));
    }
    ModelFacts& model = index.models[m->second];
    const Json* facts = find_key(run.context, "model");
    if (!model.facts && facts && facts->is_object()) {
      model.facts = facts;
      model.layers = layer_kinds(facts);
    }

    std::string analysis = r.analysis.empty() ? r.spec.analysis : r.analysis;
    auto [g, new_group] = group_of.try_emplace(analysis, index.groups.size());
    if (new_group) {
      AnalysisGroup group;
      group.name = analysis;
      group.title = analysis.empty() ? "Unnamed analysis" : analysis;
      group.anchor = "analysis-" + std::to_string(index.groups.size()) + "-" + anchor(analysis);
      index.groups.push_back(std::move(group));
    }
    AnalysisGroup& group = index.groups[g->second];
    if (const Json* info = find_key(run.context, "analysis"); info && group.definition.empty()) {
      group.title = text_at(*info, "title", group.title);
      group.definition = text_at(*info, "definition");
      group.source = text_at(*info, "source");
    }
    auto [s, new_set] = set_of[analysis].try_emplace(set_key(r), group.sets.size());
    if (new_set) group.sets.emplace_back();
    group.sets[s->second].columns.push_back({&run, m->second, {}});

    const Json* prompts = find_key(run.context, "prompts");
    if (!prompts || !prompts->is_array() || prompts->empty()) continue;
    // The text itself, not a hash given beside it, decides whether two runs show the same prompts.
    std::string text = prompts->dump(-1, ' ', false, Json::error_handler_t::replace);
    if (!prompts_seen.insert(text).second) continue;
    PromptSet set;
    set.name = dataset_label(r);
    set.prompts = prompts;
    if (const Json* task = find_key(run.context, "task")) {
      set.title = text_at(*task, "title", text_at(*task, "name"));
      set.description = text_at(*task, "description");
      set.source = text_at(*task, "source");
    }
    index.prompts.push_back(std::move(set));
  }
  std::map<std::string, int> names;
  for (const ModelFacts& m : index.models) ++names[m.label];
  for (ModelFacts& m : index.models) {
    if (names[m.label] > 1 && !m.weights_hash.empty()) m.label += " (weights " + m.weights_hash.substr(0, 6) + ")";
  }
  for (AnalysisGroup& group : index.groups) {
    name_sets(group);
    for (RunSet& set : group.sets) {
      std::stable_sort(set.columns.begin(), set.columns.end(),
                       [](const RunColumn& a, const RunColumn& b) { return a.model < b.model; });
      for (RunColumn& c : set.columns) {
        int64_t same = std::count_if(set.columns.begin(), set.columns.end(),
                                     [&](const RunColumn& o) { return o.model == c.model; });
        c.label = index.models[c.model].label + (same > 1 ? ", run " + std::to_string(c.run->record.id) : "");
      }
    }
  }
  return index;
}

}  // namespace microtome::report
