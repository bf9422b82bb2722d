// The project file: opening, the list of runs, notes, the trash. All of it in the "store" lane.
#include <QDir>
#include <QFileInfo>
#include <QSettings>
#include <QStandardPaths>
#include <algorithm>
#include <filesystem>

#include "app/desktop/session/session_impl.h"

namespace microtome::desktop {
namespace {

using StorePtr = std::shared_ptr<ResultStore>;

const QString kStoreLane = QStringLiteral("store");

}  // namespace

QString Session::projectName() const {
  return untitled_ ? tr("Untitled project") : QFileInfo(project_).completeBaseName();
}

void Session::openProject(const QString& given) {
  QString path = QFileInfo(given).absoluteFilePath();
  if (QFileInfo(path).suffix().isEmpty()) path += QStringLiteral(".microtome");
  if (path == project_ && store_) return;
  post(tr("Opening %1").arg(QFileInfo(path).fileName()), kStoreLane, this, [path](Progress&) {
    QDir().mkpath(QFileInfo(path).absolutePath());
    return ResultStore::open(utf8(path), ResultStore::Mode::kReadWrite).value();
  }, [this, path](const Result<StorePtr>& opened) {
    if (!opened) {
      Q_EMIT problem(QStringLiteral("project"), sentenceOf(opened.status()));
      if (!store_) openUntitledProject();
      return;
    }
    takeProject(path, opened.value(), false);
  });
}

void Session::openUntitledProject() {
  post(tr("Opening a project"), kStoreLane, this, [](Progress&) {
    const QString folder = QStandardPaths::writableLocation(QStandardPaths::AppDataLocation);
    QDir().mkpath(folder);
    // Another window may hold the first one.
    Status last;
    for (int i = 1; i <= 16; ++i) {
      const QString path = folder + (i == 1 ? QStringLiteral("/untitled.microtome") : QStringLiteral("/untitled-%1.microtome").arg(i));
      auto store = ResultStore::open(utf8(path), ResultStore::Mode::kReadWrite);
      if (store) return store.value();
      last = store.status();
    }
    throw Error(last);
  }, [this](const Result<StorePtr>& opened) {
    if (opened) takeProject(qstr(opened.value()->path()), opened.value(), true);
    else Q_EMIT problem(QStringLiteral("project"), sentenceOf(opened.status()));
  });
}

void Session::takeProject(const QString& path, StorePtr store, bool untitled) {
  store_ = std::move(store);
  project_ = path;
  untitled_ = untitled;
  impl_->loaded.clear();
  impl_->loadedOrder.clear();
  impl_->viewNotes.clear();
  runs_.clear();
  trashed_.clear();
  selection_.setRun(0);
  undo_.clear();
  QSettings settings;
  settings.setValue(QStringLiteral("project/last"), untitled ? QString() : path);
  if (!untitled) {
    QStringList recent = settings.value(QStringLiteral("recent/projects")).toStringList();
    recent.removeAll(path);
    recent.prepend(path);
    settings.setValue(QStringLiteral("recent/projects"), QStringList(recent.mid(0, 10)));
  }
  Q_EMIT projectChanged();
  Q_EMIT runsChanged();
  refreshRuns();
}

void Session::saveProjectAs(const QString& given) {
  QString path = QFileInfo(given).absoluteFilePath();
  if (QFileInfo(path).suffix().isEmpty()) path += QStringLiteral(".microtome");
  if (!store_ || path == project_) return;
  if (impl_->running > 0) {
    Q_EMIT problem(QStringLiteral("project"), tr("The project is being written to: wait for the running jobs, or cancel them, then save it again."));
    return;
  }
  const QString from = project_;
  // The file is whole when nobody holds it; until the copy is open there is no store.
  auto held = std::make_shared<StorePtr>(std::move(store_));
  store_.reset();
  post(tr("Saving %1").arg(QFileInfo(path).fileName()), kStoreLane, this, [from, path, held](Progress&) {
    namespace fs = std::filesystem;
    held->reset();
    const fs::path to = utf8(path), source = utf8(from);
    fs::create_directories(to.parent_path());
    fs::copy_file(source, to, fs::copy_options::overwrite_existing);
    const fs::path tensors = source.string() + "-tensors";
    if (fs::exists(tensors)) fs::copy(tensors, to.string() + "-tensors", fs::copy_options::overwrite_existing | fs::copy_options::recursive);
    return ResultStore::open(utf8(path), ResultStore::Mode::kReadWrite).value();
  }, [this, path, from](const Result<StorePtr>& opened) {
    if (opened) {
      takeProject(path, opened.value(), false);
      Q_EMIT notice(tr("Saved as %1").arg(QDir::toNativeSeparators(path)));
      return;
    }
    Q_EMIT problem(QStringLiteral("project"), sentenceOf(opened.status()));
    project_.clear();
    openProject(from);
  });
}

void Session::refreshRuns() {
  const StorePtr store = store_;
  if (!store) return;
  struct Lists {
    std::vector<RunRecord> runs, trash;
    QHash<qint64, std::map<std::string, std::string>> notes;
  };
  post(tr("Reading the project"), kStoreLane, this, [store](Progress&) {
    Lists out{store->runs().value(), store->trash().value(), {}};
    for (const RunRecord& r : out.runs) {
      auto notes = store->artifact_notes(r.id).value();
      if (!notes.empty()) out.notes[r.id] = std::move(notes);
    }
    std::reverse(out.runs.begin(), out.runs.end());
    return out;
  }, [this, store](const Result<Lists>& lists) {
    if (store != store_) return;
    if (!lists) {
      if (lists.status().code() != StatusCode::kCancelled) Q_EMIT problem(QStringLiteral("project"), sentenceOf(lists.status()));
      return;
    }
    runs_ = lists.value().runs;
    trashed_ = lists.value().trash;
    impl_->viewNotes = lists.value().notes;
    Q_EMIT runsChanged();
  }, QStringLiteral("refresh-runs"));
}

const RunRecord* Session::findRun(qint64 id) const {
  for (const auto* list : {&runs_, &trashed_})
    for (const RunRecord& r : *list)
      if (r.id == id) return &r;
  return nullptr;
}

void Session::writeToStore(const QString& title, std::function<Status(ResultStore&)> body) {
  const StorePtr store = store_;
  if (!store) return;
  post(title, kStoreLane, this, [store, body](Progress&) {
    Status s = body(*store);
    if (!s) throw Error(s);
  }, [this](const Status& s) {
    if (!s) Q_EMIT problem(QStringLiteral("project"), sentenceOf(s));
    refreshRuns();
  });
}

void Session::setNote(qint64 run, const QString& note) {
  const RunRecord* r = findRun(run);
  if (!r || qstr(r->note) == note) return;
  const QString before = qstr(r->note);
  undo_.push(new EditCommand(tr("note on run %1").arg(run), [=, this] { applyNote(run, note); }, [=, this] { applyNote(run, before); }));
}

void Session::applyNote(qint64 run, const QString& note) {
  for (auto* list : {&runs_, &trashed_})
    for (RunRecord& r : *list)
      if (r.id == run) r.note = utf8(note);
  Q_EMIT runsChanged();
  writeToStore(tr("Writing a note"), [run, note](ResultStore& s) { return s.set_note(run, utf8(note)); });
}

QString Session::viewNote(qint64 run, const QString& artifact) const {
  const auto found = impl_->viewNotes.constFind(run);
  if (found == impl_->viewNotes.constEnd()) return {};
  const auto note = found->find(utf8(artifact));
  return note == found->end() ? QString() : qstr(note->second);
}

std::map<std::string, std::string> Session::viewNotes(qint64 run) const { return impl_->viewNotes.value(run); }

void Session::setViewNote(qint64 run, const QString& artifact, const QString& note) {
  const QString before = viewNote(run, artifact);
  if (!findRun(run) || before == note) return;
  undo_.push(new EditCommand(tr("note on %1").arg(artifact), [=, this] { applyViewNote(run, artifact, note); },
                             [=, this] { applyViewNote(run, artifact, before); }));
}

void Session::applyViewNote(qint64 run, const QString& artifact, const QString& note) {
  if (note.isEmpty()) impl_->viewNotes[run].erase(utf8(artifact));
  else impl_->viewNotes[run][utf8(artifact)] = utf8(note);
  Q_EMIT runsChanged();
  writeToStore(tr("Writing a note"), [=](ResultStore& s) { return s.set_artifact_note(run, utf8(artifact), utf8(note)); });
}

void Session::setFeatureLabel(qint64 run, qint64 feature, const QString& before, const QString& label) {
  if (!findRun(run) || before == label) return;
  undo_.push(new EditCommand(tr("label of feature %1").arg(feature), [=, this] { applyFeatureLabel(run, feature, label); },
                             [=, this] { applyFeatureLabel(run, feature, before); }));
}

void Session::applyFeatureLabel(qint64 run, qint64 feature, const QString& label) {
  // What is in memory has the label from before: it is read anew when next asked for.
  impl_->loaded.remove(run);
  impl_->loadedOrder.removeAll(run);
  writeToStore(tr("Writing a label"), [=](ResultStore& s) { return s.set_feature_label(run, feature, utf8(label)); });
  Q_EMIT featureLabelChanged(run, feature, label);
}

void Session::deleteRun(qint64 run) {
  const RunRecord* r = findRun(run);
  if (!r) return;
  undo_.push(new EditCommand(tr("delete run %1").arg(run), [=, this] { applyTrash(run, true); }, [=, this] { applyTrash(run, false); }));
}

void Session::restoreRun(qint64 run) {
  if (!findRun(run)) return;
  undo_.push(new EditCommand(tr("restore run %1").arg(run), [=, this] { applyTrash(run, false); }, [=, this] { applyTrash(run, true); }));
}

void Session::applyTrash(qint64 run, bool deleted) {
  auto& from = deleted ? runs_ : trashed_;
  auto& to = deleted ? trashed_ : runs_;
  const auto found = std::find_if(from.begin(), from.end(), [&](const RunRecord& r) { return r.id == run; });
  if (found != from.end()) {
    to.push_back(std::move(*found));
    from.erase(found);
    std::sort(runs_.begin(), runs_.end(), [](const RunRecord& a, const RunRecord& b) { return a.id > b.id; });
  }
  if (deleted && selection_.run() == run) selection_.setRun(0);
  Q_EMIT runsChanged();
  writeToStore(deleted ? tr("Deleting a run") : tr("Restoring a run"), [=](ResultStore& s) { return s.set_deleted(run, deleted); });
}

void Session::emptyTrash() {
  // What is gone for good can't be undone, and older edits may be about it.
  undo_.clear();
  trashed_.clear();
  Q_EMIT runsChanged();
  writeToStore(tr("Emptying the trash"), [](ResultStore& s) {
    Status removed = s.empty_trash().status();
    return removed ? s.gc(false).status() : removed;
  });
}

void Session::loadRun(qint64 run, QObject* receiver, std::function<void(RunViewPtr)> done) {
  if (const auto found = impl_->loaded.constFind(run); found != impl_->loaded.constEnd()) {
    done(*found);
    return;
  }
  const StorePtr store = store_;
  if (!store || run == 0) {
    done(nullptr);
    return;
  }
  post(tr("Reading run %1").arg(run), kStoreLane, receiver, [store, run](Progress&) {
    auto out = std::make_shared<RunView>();
    out->record = store->find_run(std::to_string(run)).value();
    if (out->record.state == RunStatus::kDone) out->result = store->result(run).value();
    out->context = qstr(store->context(run, "report").value());
    return RunViewPtr(out);
  }, [this, done, store](const Result<RunViewPtr>& read) {
    if (!read) {
      Q_EMIT problem(QStringLiteral("project"), sentenceOf(read.status()));
      done(nullptr);
      return;
    }
    if (store == store_ && read.value()->record.state == RunStatus::kDone) impl_->keep(read.value());
    done(read.value());
  });
}

}  // namespace microtome::desktop
