#include "app/desktop/panels/report/report_panel.h"

#include <QDateTime>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QLineEdit>
#include <QListWidget>
#include <QPlainTextEdit>
#include <QShowEvent>
#include <QTabWidget>

#include "app/desktop/panels/report/preview.h"
#include "app/desktop/session/session.h"
#include "app/desktop/theme/theme.h"
#include "app/report/project_report.h"

namespace microtome::desktop {
namespace {

QString q(const std::string& s) { return QString::fromStdString(s); }

}  // namespace

ReportPanel::ReportPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
  empty_ = new EmptyState(tr("Nothing to report yet"), tr("A report is made of finished runs and of the pictures you look at. Run an analysis, or try the demo."), tr("Try the demo"), this);
  connect(empty_, &EmptyState::pressed, &session, &Session::openDemo);
  body()->addWidget(empty_, 1);

  content_ = new QSplitter(Qt::Horizontal, this);
  content_->setChildrenCollapsible(false);
  content_->addWidget(makeChoices());
  preview_ = new PagePreview(this);
  content_->addWidget(preview_);
  content_->setStretchFactor(1, 1);
  content_->setSizes({304, 460});
  body()->addWidget(content_, 1);

  rebuild_.setSingleShot(true);
  connect(&rebuild_, &QTimer::timeout, this, &ReportPanel::build);
  step_.setInterval(0);
  connect(&step_, &QTimer::timeout, this, &ReportPanel::nextStep);
  for (QLineEdit* edit : {title_, question_}) connect(edit, &QLineEdit::textChanged, this, [this] { later(400); });
  connect(notes_, &QPlainTextEdit::textChanged, this, [this] { later(600); });
  for (QListWidget* list : {runs_, pictures_})
    connect(list, &QListWidget::itemChanged, this, [this](QListWidgetItem* item) {
      const bool on = item->checkState() == Qt::Checked;
      const QString key = item->data(Qt::UserRole).toString();
      if (on) off_.remove(key);
      else off_.insert(key);
      later(100);
    });
  connect(&session, &Session::runsChanged, this, [this] { scheduleRefresh(); });
  connect(&session, &Session::projectChanged, this, [this] {
    off_.clear();
    scheduleRefresh();
  });
}

QWidget* ReportPanel::makeChoices() {
  auto* left = new QWidget(this);
  auto* column = new QVBoxLayout(left);
  column->setContentsMargins(0, 0, kGrid, 0);
  column->setSpacing(kGrid / 2);
  title_ = new QLineEdit(left);
  title_->setObjectName(QStringLiteral("report_title"));
  title_->setPlaceholderText(tr("Title"));
  title_->setText(tr("Circuit report"));
  question_ = new QLineEdit(left);
  question_->setPlaceholderText(tr("The question, one sentence"));
  column->addWidget(title_);
  column->addWidget(question_);
  auto* tabs = new QTabWidget(left);
  tabs->setDocumentMode(true);
  runs_ = makeList(tr("Runs"), QStringLiteral("report_runs"));
  pictures_ = makeList(tr("Pictures on screen"), QStringLiteral("report_pictures"));
  notes_ = new QPlainTextEdit(left);
  notes_->setObjectName(QStringLiteral("report_notes"));
  notes_->setPlaceholderText(tr("Notes in Markdown: what was asked, what was found, what is open"));
  notes_->setTabChangesFocus(true);
  tabs->addTab(runs_, tr("Runs"));
  tabs->addTab(pictures_, tr("Pictures"));
  tabs->addTab(notes_, tr("Notes"));
  tabs->setTabToolTip(1, tr("What the other panels show, as it stands there"));
  column->addWidget(tabs, 1);
  auto* all = new QHBoxLayout;
  auto* every = new QPushButton(tr("All runs"), left);
  auto* none = new QPushButton(tr("No runs"), left);
  connect(every, &QPushButton::clicked, this, [this] { checkRuns(true); });
  connect(none, &QPushButton::clicked, this, [this] { checkRuns(false); });
  all->addWidget(every);
  all->addWidget(none);
  all->addStretch(1);
  column->addLayout(all);
  auto* buttons = new QHBoxLayout;
  for (const auto& [name, format] : {std::pair(tr("Export HTML…"), QStringLiteral("html")), std::pair(tr("PDF…"), QStringLiteral("pdf")), std::pair(tr("Markdown…"), QStringLiteral("md"))}) {
    auto* b = new QPushButton(name, left);
    b->setObjectName(QStringLiteral("export_") + format);
    if (format == QLatin1String("html")) b->setProperty("primary", true);
    connect(b, &QPushButton::clicked, this, [this, f = format] { exportAs(f); });
    buttons->addWidget(b);
  }
  buttons->addStretch(1);
  column->addLayout(buttons);
  return left;
}

QByteArray ReportPanel::saveState() const { return content_->saveState(); }

void ReportPanel::restoreState(const QByteArray& state) { content_->restoreState(state); }

void ReportPanel::refresh() {
  fillLists();
  const bool any = runs_->count() > 0;
  empty_->setVisible(!any);
  content_->setVisible(any);
  if (any) later(0);
}

void ReportPanel::showEvent(QShowEvent* event) {
  Panel::showEvent(event);
  scheduleRefresh();
}

QListWidget* ReportPanel::makeList(const QString& name, const QString& object) {
  auto* list = new QListWidget(this);
  list->setObjectName(object);
  list->setAccessibleName(name);
  list->setWordWrap(true);
  list->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  return list;
}

void ReportPanel::addItem(QListWidget* list, const QString& text, const QString& key, const QString& tip, bool on) {
  auto* item = new QListWidgetItem(text, list);
  item->setData(Qt::UserRole, key);
  item->setToolTip(tip);
  item->setFlags(Qt::ItemIsUserCheckable | Qt::ItemIsEnabled | Qt::ItemIsSelectable);
  item->setCheckState(on ? Qt::Checked : Qt::Unchecked);
}

void ReportPanel::fillLists() {
  const QSignalBlocker a(runs_), b(pictures_);
  runs_->clear();
  for (const RunRecord& r : session().runs()) {
    if (r.state != RunStatus::kDone) continue;
    const QString key = QStringLiteral("run/%1").arg(r.id);
    addItem(runs_, tr("%1 · %2 · %3").arg(r.id).arg(q(r.title), q(r.model_name)), key, q(r.command), !off_.contains(key));
  }
  pictures_->clear();
  shown_.clear();
  for (View* v : session().shownViews()) {
    const QString key = QStringLiteral("view/%1/%2/%3").arg(v->sourceRun()).arg(v->sourceArtifact(), v->title());
    shown_.push_back(v);
    addItem(pictures_, v->title(), key, v->command(), !off_.contains(key));
  }
  if (pictures_->count() == 0) {
    auto* item = new QListWidgetItem(tr("Look at Attention, States, Lens or Patching: what they show can be taken from here."), pictures_);
    item->setFlags(Qt::NoItemFlags);
  }
}

void ReportPanel::checkRuns(bool on) {
  {
    const QSignalBlocker quiet(runs_);
    for (int i = 0; i < runs_->count(); ++i) {
      runs_->item(i)->setCheckState(on ? Qt::Checked : Qt::Unchecked);
      const QString key = runs_->item(i)->data(Qt::UserRole).toString();
      if (on) off_.remove(key);
      else off_.insert(key);
    }
  }
  later(0);
}

std::vector<qint64> ReportPanel::chosenRuns() const {
  std::vector<qint64> out;
  // In the order in which they were made.
  for (int i = runs_->count() - 1; i >= 0; --i)
    if (runs_->item(i)->checkState() == Qt::Checked) out.push_back(runs_->item(i)->data(Qt::UserRole).toString().section(QLatin1Char('/'), 1).toLongLong());
  return out;
}

std::vector<QPointer<View>> ReportPanel::chosenPictures() const {
  std::vector<QPointer<View>> out;
  for (size_t i = 0; i < shown_.size(); ++i)
    if (pictures_->item(static_cast<int>(i))->checkState() == Qt::Checked && shown_[i]) out.push_back(shown_[i]);
  return out;
}

void ReportPanel::later(int ms) { rebuild_.start(ms); }

void ReportPanel::build() {
  step_.stop();
  if (!isVisible()) {
    scheduleRefresh();
    return;
  }
  const auto store = session().store();
  if (!store) return;
  const std::vector<qint64> wanted = chosenRuns();
  preview_->setBusy(true);
  session().post(tr("Reading runs for the report"), QStringLiteral("store"), this, [store, wanted](Progress& p) {
    Runs out;
    for (size_t i = 0; i < wanted.size(); ++i) {
      p.step(static_cast<int64_t>(i), static_cast<int64_t>(wanted.size()));
      const RunRecord record = store->find_run(std::to_string(wanted[i])).value();
      out[wanted[i]] = std::make_shared<const ReportRun>(report::load_run(*store, record));
    }
    return out;
  }, [this, wanted](const Result<Runs>& read) {
    if (read) compose(read.value(), wanted);
    else if (read.status().code() != StatusCode::kCancelled) showProblem(q(read.status().text()));
  }, QStringLiteral("report-read"));
}

void ReportPanel::compose(const Runs& runs, const std::vector<qint64>& order) {
  auto content = std::make_shared<ReportContent>();
  content->title = title_->text();
  content->question = question_->text();
  content->notes = notes_->toPlainText();
  content->pictures = chosenPictures();
  for (const auto& v : content->pictures) content->pictureNotes << session().viewNote(v->sourceRun(), v->sourceArtifact());
  for (qint64 id : order)
    if (const auto found = runs.find(id); found != runs.end()) content->runs.push_back(*found->second);
  content_now_ = content;
  pages_ = std::make_shared<ReportPages>();
  steps_ = reportSteps(content, pages_);
  done_ = 0;
  step_.start();
}

void ReportPanel::nextStep() {
  // Nobody waits for pages that are out of sight; they are made when they are looked at.
  if (!isVisible() && pending_.isEmpty()) {
    step_.stop();
    scheduleRefresh();
    return;
  }
  if (done_ < steps_.size()) {
    steps_[done_++]();
    return;
  }
  step_.stop();
  drawn_ = pages_->pages(reportFooter(*content_now_));
  preview_->setPages(drawn_);
  if (!pending_.isEmpty()) writeOut();
}

void ReportPanel::exportAs(const QString& format) {
  const QString name = QFileInfo(session().projectPath()).completeBaseName() + QLatin1Char('.') + format;
  const QString path = QFileDialog::getSaveFileName(this, tr("Export the report"), QDir::home().filePath(name), format.toUpper() + QStringLiteral(" (*.") + format + QLatin1Char(')'));
  if (!path.isEmpty()) exportTo(path);
}

void ReportPanel::exportTo(const QString& path) {
  pending_ = path;
  rebuild_.stop();
  build();
}

void ReportPanel::writeOut() {
  const QString path = pending_;
  pending_.clear();
  const QString format = QFileInfo(path).suffix().toLower();
  if (format == QLatin1String("pdf")) {
    session().post(tr("Writing the report"), QStringLiteral("light"), this, [pages = drawn_, title = content_now_->title, path](Progress&) {
      QString why;
      if (!writePdf(pages, title, path, &why)) throw Error(StatusCode::kFailed, why.toStdString());
      return static_cast<qint64>(pages.size());
    }, [this, path](const Result<qint64>& written) {
      if (written) showNotice(tr("%1 written, %2 pages.").arg(QDir::toNativeSeparators(path)).arg(written.value()));
      else showProblem(q(written.status().text()));
    });
    return;
  }
  // The pictures are drawn here, one a turn of the event loop, before a worker writes the file.
  auto options = std::make_shared<ReportOptions>();
  options->title = content_now_->title.toStdString();
  options->question = content_now_->question.toStdString();
  options->notes_markdown = content_now_->notes.toStdString();
  options->generated = QDateTime::currentDateTimeUtc().toString(QStringLiteral("yyyy-MM-dd hh:mm 'UTC'")).toStdString();
  addPicture(options, 0, path);
}

void ReportPanel::addPicture(std::shared_ptr<ReportOptions> options, size_t i, const QString& path) {
  if (i < content_now_->pictures.size()) {
    if (const View* v = content_now_->pictures[i]) {
      ReportPicture p;
      p.title = v->title().toStdString();
      p.command = v->command().toStdString();
      p.note = content_now_->pictureNotes.value(static_cast<qsizetype>(i)).toStdString();
      p.svg = v->svg().toStdString();
      options->pictures.push_back(std::move(p));
    }
    QTimer::singleShot(0, this, [=, this] { addPicture(options, i + 1, path); });
    return;
  }
  writeText(std::move(options), path);
}

void ReportPanel::writeText(std::shared_ptr<ReportOptions> options, const QString& path) {
  const bool markdown = QFileInfo(path).suffix().toLower() == QLatin1String("md");
  session().post(tr("Writing the report"), QStringLiteral("light"), this, [=, runs = content_now_](Progress&) {
    if (markdown && !options->pictures.empty()) {
      const QString folder = QFileInfo(path).completeBaseName() + QStringLiteral("-pictures");
      if (!QDir(QFileInfo(path).absolutePath()).mkpath(folder)) throw Error(StatusCode::kFailed, "the folder for pictures can't be made", path.toStdString(), "choose another place");
      for (size_t k = 0; k < options->pictures.size(); ++k) {
        options->pictures[k].file = (folder + QStringLiteral("/%1.svg").arg(k + 1)).toStdString();
        const Status s = write_text_file(QFileInfo(path).absolutePath().toStdString() + "/" + options->pictures[k].file, options->pictures[k].svg);
        if (!s) throw Error(s);
      }
    }
    const std::string text = markdown ? render_markdown(runs->runs, *options) : render_html(runs->runs, *options);
    const Status s = write_text_file(path.toStdString(), text);
    if (!s) throw Error(s);
    return static_cast<qint64>(text.size());
  }, [this, path](const Result<qint64>& written) {
    if (written) showNotice(tr("%1 written, %2 MB.").arg(QDir::toNativeSeparators(path), numberText(static_cast<double>(written.value()) / 1e6, 2)));
    else showProblem(q(written.status().text()));
  });
}

}  // namespace microtome::desktop
