#include "app/desktop/panels/trained_dictionaries.h"

#include <QDir>
#include <QFileInfo>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <optional>

#include "app/desktop/views/label_text.h"
#include "core/base/json.h"

namespace microtome::desktop {
namespace {

std::string plain(const std::string& name) {
  std::string out;
  for (char c : name)
    if (std::isalnum(static_cast<unsigned char>(c))) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

const Cell* cellOf(const Table& table, size_t row, const char* column) {
  // The very name first: a sweep over "l0" stands beside the measured "L0".
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (table.columns[c].name == column && row < table.rows.size() && c < table.rows[row].size()) return &table.rows[row][c];
  const std::string wanted = plain(column);
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (plain(table.columns[c].name) == wanted && row < table.rows.size() && c < table.rows[row].size()) return &table.rows[row][c];
  return nullptr;
}

// A stored dictionary names its configuration as the one label of an axis; null: the arrays are something else.
std::optional<TrainingFacts::Made> madeOf(const TensorMap& map) {
  const auto label = map.axis_labels.find("config");
  if (label == map.axis_labels.end() || label->second.size() != 1) return std::nullopt;
  TrainingFacts::Made out;
  out.name = map.name;
  out.title = labelText(map.title.empty() ? map.name : map.title, 120);
  const Result<Json> json = parse_json(label->second.front(), "dictionary");
  if (!json || !json.value().is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto at = json.value().find(key);
    return at != json.value().end() && at->is_string() ? labelText(at->get<std::string>(), 80) : QString();
  };
  out.kind = text("kind");
  const QString in = text("hook_in"), to = text("hook_out");
  out.hook = to.isEmpty() || to == in ? in : in + QStringLiteral(" → ") + to;
  if (const auto at = json.value().find("d_sae"); at != json.value().end() && at->is_number_integer()) out.dSae = at->get<int64_t>();
  return out;
}

}  // namespace

const std::vector<QString>& trainingAnalyses() {
  static const std::vector<QString> names = {QStringLiteral("sae"), QStringLiteral("transcoder")};
  return names;
}

bool trainsDictionaries(const RunRecord& run) {
  const QString name = QString::fromStdString(run.spec.analysis.empty() ? run.analysis : run.spec.analysis);
  return std::find(trainingAnalyses().begin(), trainingAnalyses().end(), name) != trainingAnalyses().end();
}

const Series* TrainingFacts::find(const char* name) const {
  for (const Series& s : series)
    if (s.name == name) return &s;
  return nullptr;
}

const Table* TrainingFacts::table(const char* name) const {
  for (const Table& t : tables)
    if (t.name == name) return &t;
  return nullptr;
}

TrainingFacts trainingFactsOf(const AnalysisResult& result) {
  TrainingFacts out;
  for (const Artifact& a : result.artifacts) {
    if (const auto* s = std::get_if<Series>(&a)) out.series.push_back(*s);
    if (const auto* t = std::get_if<Table>(&a)) out.tables.push_back(*t);
    if (const auto* m = std::get_if<TensorMap>(&a))
      if (auto made = madeOf(*m)) out.dictionaries.push_back(std::move(*made));
  }
  return out;
}

double numberOf(const Table& table, size_t row, const char* column) {
  const Cell* c = cellOf(table, row, column);
  if (const auto* d = c ? std::get_if<double>(c) : nullptr) return *d;
  if (const auto* i = c ? std::get_if<int64_t>(c) : nullptr) return static_cast<double>(*i);
  return std::numeric_limits<double>::quiet_NaN();
}

QString textOf(const Table& table, size_t row, const char* column) {
  const Cell* c = cellOf(table, row, column);
  if (const auto* s = c ? std::get_if<std::string>(c) : nullptr) return labelText(*s, 120);
  if (const auto* i = c ? std::get_if<int64_t>(c) : nullptr) return QString::number(*i);
  return {};
}

TrainingRuns::TrainingRuns(Session& session, QObject* parent) : QObject(parent), session_(session) {
  connect(&session_, &Session::projectChanged, this, [this] {
    facts_.clear();
    asked_.clear();
    askedUnfinished_.clear();
    Q_EMIT changed();
  });
  connect(&session_, &Session::runFinished, this, [this](qint64, const QString&, int, const RunViewPtr& run) {
    if (run->record.id == 0 || !trainsDictionaries(run->record)) return;
    facts_[run->record.id] = std::make_shared<const TrainingFacts>(trainingFactsOf(run->result));
    asked_.insert(run->record.id);
    Q_EMIT changed();
  });
}

std::vector<const RunRecord*> TrainingRuns::list() const {
  std::vector<const RunRecord*> out;
  for (const RunRecord& r : session_.runs())
    if (trainsDictionaries(r)) out.push_back(&r);
  return out;
}

TrainingFactsPtr TrainingRuns::facts(qint64 run) const {
  const auto at = facts_.find(run);
  return at == facts_.end() ? nullptr : at->second;
}

void TrainingRuns::read() {
  const std::shared_ptr<ResultStore> store = session_.store();
  if (!store) return;
  app::Engine* engine = session_.engine();
  for (const RunRecord* r : list()) {
    const qint64 run = r->id;
    if (r->state != RunStatus::kDone) {
      // What was paused, here or before a restart, or went wrong: its curves as far as they go.
      if (!engine || !askedUnfinished_.insert(run).second) continue;
      session_.post(
          tr("Reading run %1").arg(run), QStringLiteral("store"), this,
          [store, engine, run](Progress&) { return TrainingFactsPtr(std::make_shared<const TrainingFacts>(trainingFactsOf(engine->kept_training(*store, run)))); },
          [this, run, store](const Result<TrainingFactsPtr>& read) {
            if (store != session_.store() || !read || read.value()->series.empty() || asked_.count(run) > 0) return;
            facts_[run] = read.value();
            Q_EMIT changed();
          });
      continue;
    }
    if (!asked_.insert(run).second) continue;
    session_.post(
        tr("Reading run %1").arg(run), QStringLiteral("store"), this,
        [store, run](Progress&) { return TrainingFactsPtr(std::make_shared<const TrainingFacts>(trainingFactsOf(store->result(run).value()))); },
        [this, run, store](const Result<TrainingFactsPtr>& read) {
          // What can't be read is said where it is opened.
          if (store != session_.store() || !read) return;
          facts_[run] = read.value();
          Q_EMIT changed();
        });
  }
}

QString TrainingRuns::folderOf(const RunRecord& run, const std::string& name) const {
  const QFileInfo project(session_.projectPath());
  QString artifact;
  for (char c : name.empty() ? std::string("all") : name)
    artifact += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ? QChar::fromLatin1(c) : QLatin1Char('_');
  return project.absolutePath() + QLatin1Char('/') + project.completeBaseName() + QStringLiteral("-dictionaries/%1-%2-%3")
             .arg(labelText(run.analysis.empty() ? run.spec.analysis : run.analysis, 40), QString::fromStdString(run.key_hash.substr(0, 12)), artifact.left(80));
}

void TrainingRuns::ensure(const QString& folder, QObject* receiver, std::function<void(const QString&)> done) {
  const QString wanted = QDir::cleanPath(QDir::fromNativeSeparators(folder));
  const RunRecord* found = nullptr;
  std::vector<std::string> names;
  for (const RunRecord* r : list()) {
    if (r->state != RunStatus::kDone) continue;
    if (folderOf(*r, {}) == wanted) found = r;
    if (const TrainingFactsPtr facts = this->facts(r->id))
      for (const TrainingFacts::Made& m : facts->dictionaries)
        if (folderOf(*r, m.name) == wanted) {
          found = r;
          names = {m.name};
        }
    if (found) break;
  }
  if (!found || !QDir(wanted).isEmpty()) return done({});
  const std::shared_ptr<ResultStore> store = session_.store();
  app::Engine* engine = session_.engine();
  if (!store || !engine) return done(tr("The core is still being opened: try again in a moment."));
  session_.post(
      tr("Writing the dictionary of run %1").arg(found->id), QStringLiteral("store"), receiver,
      [store, engine, run = found->id, names, path = wanted.toStdString()](Progress& p) {
        p.step(0, 2, "reading the run");
        const AnalysisResult result = store->result(run).value();
        p.step(1, 2, "writing the dictionary");
        engine->write_dictionaries(result, names, path);
      },
      [done](const Status& s) { done(s ? QString() : QString::fromStdString(s.text())); });
}

}  // namespace microtome::desktop
