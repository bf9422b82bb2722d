#include "app/desktop/panels/circuit/stored.h"

#include <QDir>
#include <algorithm>

namespace microtome::desktop {
namespace {

// The order of the list; what is not named here follows by name.
const QStringList& preferred() {
  static const QStringList names = {QStringLiteral("eap_ig"), QStringLiteral("eap"), QStringLiteral("acdc"), QStringLiteral("edge_pruning")};
  return names;
}

QString analysisOf(const RunRecord& r) { return QString::fromStdString(r.spec.analysis.empty() ? r.analysis : r.spec.analysis); }

}  // namespace

std::string CircuitRequest::param(const char* name) const {
  const auto at = params.find(name);
  return at == params.end() ? std::string() : at->second;
}

CircuitRequest circuitRequestOf(const RunRecord& record) { return {analysisOf(record), record.spec.answer_params, record.spec.dataset_hash}; }

const Circuit* circuitOf(const AnalysisResult& result) {
  for (const Artifact& a : result.artifacts)
    if (const auto* c = std::get_if<Circuit>(&a)) return c;
  return nullptr;
}

bool StoredCircuits::makesCircuits(const QString& analysis) const {
  if (learned_.contains(analysis)) return true;
  const app::AnalysisFacts* a = session_.findAnalysis(analysis);
  return a && std::any_of(a->info.outputs.begin(), a->info.outputs.end(), [](const OutputInfo& o) { return o.name == "edge_scores"; });
}

QStringList StoredCircuits::analyses() const {
  QStringList out;
  for (const app::AnalysisFacts& a : session_.analyses())
    if (const QString name = QString::fromStdString(a.info.name); makesCircuits(name)) out << name;
  const auto rank = [](const QString& name) {
    const qsizetype at = preferred().indexOf(name);
    return at < 0 ? preferred().size() : at;
  };
  std::stable_sort(out.begin(), out.end(), [&](const QString& a, const QString& b) { return rank(a) < rank(b); });
  return out;
}

void StoredCircuits::learn() {
  const std::shared_ptr<ResultStore> store = session_.store();
  if (!store) return;
  std::vector<std::pair<QString, qint64>> ask;
  for (const RunRecord& r : session_.runs()) {
    const QString name = analysisOf(r);
    if (r.state != RunStatus::kDone || looked_.contains(name) || makesCircuits(name)) continue;
    looked_.insert(name);
    ask.emplace_back(name, r.id);
  }
  if (ask.empty()) return;
  session_.post(
      tr("Looking for circuits"), QStringLiteral("store"), this,
      [store, ask](Progress& p) {
        QStringList found;
        for (const auto& [name, run] : ask) {
          p.check();
          // What can't be read is said where it is opened.
          if (const Result<AnalysisResult> result = store->result(run); result && circuitOf(result.value())) found << name;
        }
        return found;
      },
      [this](const Result<QStringList>& found) {
        if (!found || found.value().isEmpty()) return;
        for (const QString& name : found.value()) learned_.insert(name);
        Q_EMIT changed();
      });
}

const std::string& StoredCircuits::promptHash(int slot, bool one) {
  Known& k = known_[slot];
  const std::shared_ptr<const Dataset>& set = session_.prompts().bySlot[slot];
  if (set != k.set) k = {set, nullptr, -1, {}, {}};
  if (!set) return k.all;
  // A set may hold very many prompts: each is hashed once.
  if (!one) {
    if (k.all.empty() && !set->pairs.empty()) k.all = set->hash();
    return k.all;
  }
  if (const int index = session_.selection().prompt(); index != k.index) {
    k.index = index;
    k.one.clear();
    k.single = nullptr;
    if (const PromptPair* pair = session_.currentPair(slot)) {
      auto single = std::make_shared<Dataset>();
      single->name = set->name;
      single->pairs.push_back(*pair);
      k.one = single->hash();
      k.single = single;
    }
  }
  return k.one;
}

CircuitRequest StoredCircuits::requested(const RunRequest& request) {
  CircuitRequest out;
  out.analysis = request.analysis;
  if (const app::AnalysisFacts* a = session_.findAnalysis(request.analysis))
    if (const Result<Params> params = resolve_params(a->schema, request.params); params)
      for (const ParamSpec& p : a->schema.specs)
        if (p.affects_answer && params.value().has(p.name)) out.params[p.name] = param_text(params.value().values().at(p.name));
  out.prompts = promptHash(request.slot, request.onePrompt);
  return out;
}

CircuitPrompts StoredCircuits::scopeOf(int slot, const std::string& prompts) {
  if (prompts.empty()) return CircuitPrompts::kOther;
  if (promptHash(slot, false) == prompts) return CircuitPrompts::kAll;
  return promptHash(slot, true) == prompts ? CircuitPrompts::kOne : CircuitPrompts::kOther;
}

std::shared_ptr<const Dataset> StoredCircuits::promptsFor(int slot, const std::string& prompts) {
  return scopeOf(slot, prompts) == CircuitPrompts::kOne ? known_[slot].single : session_.prompts().bySlot[slot];
}

bool StoredCircuits::fits(int slot, const RunRecord& r) const {
  const app::ModelPtr model = session_.model(slot);
  if (!model || r.state != RunStatus::kDone || !makesCircuits(analysisOf(r))) return false;
  const auto clean = [](const std::string& path) { return QDir::cleanPath(QString::fromStdString(path)); };
  return clean(model->facts().folder) == clean(r.spec.model_path);
}

std::vector<const RunRecord*> StoredCircuits::list(int slot) {
  std::vector<const RunRecord*> here, elsewhere;
  for (const RunRecord& r : session_.runs())
    if (fits(slot, r)) (scopeOf(slot, r.spec.dataset_hash) == CircuitPrompts::kOther ? elsewhere : here).push_back(&r);
  here.insert(here.end(), elsewhere.begin(), elsewhere.end());
  return here;
}

}  // namespace microtome::desktop
