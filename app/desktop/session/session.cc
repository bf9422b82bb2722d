#include "app/desktop/session/session.h"

#include <QCoreApplication>
#include <QDir>
#include <QFileInfo>
#include <QSettings>
#include <QStandardPaths>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "app/cli/core_library.h"
#include "app/desktop/session/session_impl.h"

namespace microtome::desktop {
namespace {

// Work gives way to the window: on Linux a niceness belongs to a thread, and threads that it starts inherit it.
void giveWay() {
  thread_local const bool done = [] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 5);
    return true;
  }();
  (void)done;
}

void remember(const QString& key, const QString& path) {
  QSettings settings;
  QStringList list = settings.value(key).toStringList();
  list.removeAll(path);
  list.prepend(path);
  while (list.size() > 10) list.removeLast();
  settings.setValue(key, list);
}

QStringList remembered(const QString& key) {
  QStringList out;
  for (const QString& path : QSettings().value(key).toStringList())
    if (QFileInfo::exists(path)) out << path;
  return out;
}

}  // namespace

QString shellWord(const QString& word) {
  static const QString plain = QStringLiteral("_-./=:,@%+");
  bool simple = !word.isEmpty();
  for (QChar c : word) simple = simple && ((c.isLetterOrNumber() && c.unicode() < 128) || plain.contains(c));
  if (simple) return word;
  QString out = word;
  return QLatin1Char('\'') + out.replace(QLatin1Char('\''), QStringLiteral("'\\''")) + QLatin1Char('\'');
}

QString sentenceOf(const Status& status) {
  QString text = qstr(status.text());
  // A sentence begins large, a file's name or a quoted word stays as it is written.
  const QString first = text.section(QLatin1Char(' '), 0, 0);
  const bool word = std::all_of(first.begin(), first.end(), [](QChar c) { return c.isLetter(); });
  if (word && !text.isEmpty()) text[0] = text[0].toUpper();
  if (!text.endsWith(QLatin1Char('.'))) text += QLatin1Char('.');
  return text;
}

void Session::Impl::keep(const RunViewPtr& run) {
  const qint64 id = run->record.id;
  if (id == 0) return;
  loaded[id] = run;
  loadedOrder.removeAll(id);
  loadedOrder.append(id);
  while (loadedOrder.size() > kLoaded) loaded.remove(loadedOrder.takeFirst());
}

Session::Session(QObject* parent) : QObject(parent), impl_(std::make_unique<Impl>()), selection_(this), undo_(this) {
  qRegisterMetaType<qint64>("qint64");
  impl_->queue = std::make_unique<JobQueue>(2);
  // Told by a thread of the queue's own: the news goes to the GUI thread.
  impl_->queue->on_change([this](int64_t id) {
    QMetaObject::invokeMethod(this, [this, id] { jobEnded(id); }, Qt::QueuedConnection);
  });
}

Session::~Session() {
  // Nothing of the window may hear of what ends now; runs stop at their next step, and what they committed stays.
  impl_->waiting.clear();
  impl_->queue->on_change(nullptr);
  impl_->queue.reset();
}

// ---- jobs

qint64 Session::submit(const QString& title, const QString& lane, std::function<void(Progress&)> body,
                       std::function<void(const Status&)> ended, QObject* receiver, const QString& supersedes) {
  const qint64 id = impl_->queue->submit(utf8(title), utf8(lane), [body = std::move(body)](Progress& p) {
    giveWay();
    body(p);
  }, utf8(supersedes));
  impl_->waiting[id] = {std::move(ended), receiver, receiver != nullptr};
  return id;
}

void Session::jobEnded(qint64 id) {
  Q_EMIT jobsChanged();
  for (const JobSnapshot& job : impl_->queue->snapshots()) {
    if (job.id != id) continue;
    if (job.state == JobState::kQueued || job.state == JobState::kRunning) return;
    const auto found = impl_->waiting.find(id);
    if (found == impl_->waiting.end()) return;
    const WaitingJob waiting = *found;
    impl_->waiting.erase(found);
    if (waiting.hasReceiver && !waiting.receiver) return;
    if (waiting.ended) waiting.ended(job.status);
    return;
  }
}

void Session::cancel(qint64 job) { impl_->queue->cancel(job); }
std::vector<JobSnapshot> Session::jobs() const { return impl_->queue->snapshots(); }
bool Session::busy() const { return impl_->running > 0; }

// ---- engine

void Session::openEngine() {
  struct Opened {
    app::Engine* engine = nullptr;
    app::DeviceFacts devices;
    std::vector<app::AnalysisFacts> analyses;
    std::vector<std::string> warnings;
  };
  post(tr("Opening the core"), QStringLiteral("light"), this, [](Progress&) {
    std::string why;
    auto make = reinterpret_cast<app::EngineFn>(cli::core_function(app::kEngineSymbol, &why));
    if (!make) throw Error(StatusCode::kFailed, why);
    Opened out;
    out.engine = make();
    out.devices = out.engine->devices();
    out.analyses = out.engine->analyses();
    out.warnings = out.engine->plugin_warnings();
    return out;
  }, [this](const Result<Opened>& opened) {
    if (!opened) {
      Q_EMIT problem(QStringLiteral("engine"), sentenceOf(opened.status()));
      return;
    }
    engine_ = opened.value().engine;
    devices_ = opened.value().devices;
    analyses_ = opened.value().analyses;
    if (!devices_.names.empty()) device_ = qstr(devices_.names.front());
    Q_EMIT engineChanged();
    Q_EMIT deviceChanged(device_);
    for (const std::string& w : opened.value().warnings) Q_EMIT problem(QStringLiteral("engine"), qstr(w));
    // What was asked for while the core was not there yet.
    for (int slot = 0; slot < kSlots; ++slot)
      if (!impl_->openingFolder[slot].isEmpty()) openModel(impl_->openingFolder[slot], slot);
  });
}

const app::AnalysisFacts* Session::findAnalysis(const QString& name) const {
  for (const app::AnalysisFacts& a : analyses_)
    if (qstr(a.info.name) == name) return &a;
  return nullptr;
}

void Session::setDevice(const QString& device) {
  if (device == device_) return;
  device_ = device;
  Q_EMIT deviceChanged(device);
  for (int slot = 0; slot < kSlots; ++slot)
    if (models_[slot]) openModel(qstr(models_[slot]->facts().folder), slot);
}

// ---- models

void Session::openModel(const QString& given, int slot) {
  if (slot < 0 || slot >= kSlots || given.isEmpty()) return;
  // A file of the folder does as well: people drop config.json or the weights.
  QFileInfo info(given);
  const QString folder = QDir::cleanPath(info.isFile() ? info.absolutePath() : info.absoluteFilePath());
  impl_->openingFolder[slot] = folder;
  opening_[slot] = true;
  Q_EMIT openingChanged(slot);
  if (!engine_) return;                // openEngine goes on with it
  ++impl_->running;
  const QString device = device_;
  app::Engine* engine = engine_;
  post(tr("Opening %1").arg(QFileInfo(folder).fileName()), QStringLiteral("light"), this, [engine, folder, device](Progress& p) {
    p.step(0, 1, "reading the weights");
    return engine->open(utf8(folder), utf8(device), kDtype);
  }, [this, slot, folder](const Result<app::ModelPtr>& opened) {
    --impl_->running;
    if (impl_->openingFolder[slot] != folder && !impl_->openingFolder[slot].isEmpty()) return;   // superseded
    impl_->openingFolder[slot].clear();
    opening_[slot] = false;
    if (opened) {
      models_[slot] = opened.value();
      remember(QStringLiteral("recent/models"), folder);
      for (const std::string& w : models_[slot]->facts().warnings) Q_EMIT problem(QStringLiteral("model"), qstr(w));
      tokenise(slot);
    } else if (opened.status().code() != StatusCode::kCancelled) {
      // The model that was open before stays.
      Q_EMIT problem(QStringLiteral("model"), sentenceOf(opened.status()));
    }
    Q_EMIT openingChanged(slot);
    Q_EMIT modelChanged(slot);
  }, QStringLiteral("open-model-%1").arg(slot));
}

void Session::closeModel(int slot) {
  if (slot < 0 || slot >= kSlots || !models_[slot]) return;
  models_[slot].reset();
  prompts_.bySlot[slot].reset();
  prompts_.problem[slot].clear();
  if (slot == 0 && models_[1]) {
    // There is no second model without a first.
    std::swap(models_[0], models_[1]);
    std::swap(prompts_.bySlot[0], prompts_.bySlot[1]);
    std::swap(prompts_.problem[0], prompts_.problem[1]);
    Q_EMIT modelChanged(1);
  }
  selection_.setModel(0);
  Q_EMIT modelChanged(slot);
  Q_EMIT promptsChanged();
}

QString Session::shippedModels() {
  const QString here = QCoreApplication::applicationDirPath();
  for (const QString& place : {here + QStringLiteral("/resources/models"), here + QStringLiteral("/../resources/models"),
                               here + QStringLiteral("/../share/microtome/models"), QStringLiteral("resources/models")})
    if (QFileInfo::exists(place + QStringLiteral("/zoo-llama/config.json"))) return QDir(place).absolutePath();
  return {};
}

void Session::openDemo() {
  const QString models = shippedModels();
  if (models.isEmpty()) {
    Q_EMIT problem(QStringLiteral("model"), tr("The models that ship with Microtome were not found: start it in its own folder, or open a model folder."));
    return;
  }
  const QString data = QStandardPaths::writableLocation(QStandardPaths::AppDataLocation);
  QDir().mkpath(data);
  openProject(data + QStringLiteral("/demo.microtome"));
  impl_->demo = true;
  openModel(models + QStringLiteral("/zoo-llama"), 0);
  openModel(models + QStringLiteral("/zoo-gated_deltanet"), 1);
  PromptSource source;
  source.kind = PromptSource::Kind::kTask;
  source.task = QStringLiteral("ioi");
  prompts_.source = source;            // made when the first model is there
  prompts_.text = {};
  Q_EMIT panelWanted(QStringLiteral("attention"));
}

QStringList Session::recentModels() const { return remembered(QStringLiteral("recent/models")); }

QStringList Session::recentProjects() const { return remembered(QStringLiteral("recent/projects")); }

}  // namespace microtome::desktop
