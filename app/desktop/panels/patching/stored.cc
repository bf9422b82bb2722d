#include "app/desktop/panels/patching/stored.h"

#include <QDir>

namespace microtome::desktop {

const QStringList& gridAnalyses() {
  static const QStringList names = {QStringLiteral("activation_patching"), QStringLiteral("attribution_patching"),
                                    QStringLiteral("ablation")};
  return names;
}

std::string GridRequest::param(const char* name) const {
  const auto at = params.find(name);
  return at == params.end() ? std::string() : at->second;
}

GridRequest requestOfRecord(const RunRecord& record) {
  return {QString::fromStdString(record.spec.analysis.empty() ? record.analysis : record.spec.analysis), record.spec.answer_params,
          record.spec.dataset_hash};
}

const std::string& StoredGrids::promptHash(int slot, bool one) {
  Known& k = known_[slot];
  const std::shared_ptr<const Dataset>& set = session_.prompts().bySlot[slot];
  if (set != k.set) k = {set, -1, {}, {}};
  if (!set) return k.all;
  // A set may hold very many prompts: each is hashed once.
  if (!one) {
    if (k.all.empty() && !set->pairs.empty()) k.all = set->hash();
    return k.all;
  }
  const int index = session_.selection().prompt();
  if (index != k.index) {
    k.index = index;
    k.one.clear();
    if (const PromptPair* pair = session_.currentPair(slot)) {
      Dataset single;
      single.pairs.push_back(*pair);
      k.one = single.hash();
    }
  }
  return k.one;
}

GridRequest StoredGrids::requested(const RunRequest& request) {
  GridRequest out;
  out.analysis = request.analysis;
  if (const app::AnalysisFacts* a = session_.findAnalysis(request.analysis))
    if (const Result<Params> params = resolve_params(a->schema, request.params); params)
      for (const ParamSpec& p : a->schema.specs)
        if (p.affects_answer && params.value().has(p.name)) out.params[p.name] = param_text(params.value().values().at(p.name));
  out.prompts = promptHash(request.slot, request.onePrompt);
  return out;
}

bool StoredGrids::fits(int slot, const RunRecord& r) const {
  const app::ModelPtr model = session_.model(slot);
  if (!model || r.state != RunStatus::kDone) return false;
  const QString name = QString::fromStdString(r.spec.analysis.empty() ? r.analysis : r.spec.analysis);
  if (!gridAnalyses().contains(name)) return false;
  const app::AnalysisFacts* a = session_.findAnalysis(name);
  if (!a || a->info.version != r.spec.analysis_version) return false;
  const auto clean = [](const std::string& path) { return QDir::cleanPath(QString::fromStdString(path)); };
  return clean(model->facts().folder) == clean(r.spec.model_path) && r.spec.dtype == kDtype && r.spec.form == "auto" &&
         r.spec.bos == "auto" && !r.spec.tf32 && (r.spec.interventions.empty() || r.spec.interventions == "[]");
}

qint64 StoredGrids::find(int slot, const GridRequest& wanted) const {
  for (const RunRecord& r : session_.runs())
    if (fits(slot, r) && r.spec.seed == session_.prompts().source.seed && requestOfRecord(r) == wanted) return r.id;
  return 0;
}

const RunRecord* StoredGrids::newest(int slot) {
  const RunRecord* other = nullptr;
  for (const RunRecord& r : session_.runs()) {
    if (!fits(slot, r)) continue;
    if (scopeOf(slot, r.spec.dataset_hash) != PromptScope::kOther) return &r;
    if (!other) other = &r;
  }
  return other;
}

PromptScope StoredGrids::scopeOf(int slot, const std::string& prompts) {
  if (prompts.empty()) return PromptScope::kOther;
  if (promptHash(slot, false) == prompts) return PromptScope::kAll;
  return promptHash(slot, true) == prompts ? PromptScope::kOne : PromptScope::kOther;
}

}  // namespace microtome::desktop
