// Jobs: what runs, how far, how long still; and beside it the log of what happened.
#include <QClipboard>
#include <QDateTime>
#include <QGuiApplication>
#include <QHeaderView>
#include <QKeyEvent>
#include <QPlainTextEdit>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>

#include "app/desktop/panels/jobs/job_table.h"
#include "app/desktop/panels/registry.h"
#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {
namespace {

constexpr int kPollMs = 200;
constexpr int kLogLines = 1000;

// Low: the panel stands below everything else.
class LowSplitter : public QSplitter {
 public:
  using QSplitter::QSplitter;
  QSize sizeHint() const override { return {80 * kGrid, 17 * kGrid}; }
  QSize minimumSizeHint() const override { return {30 * kGrid, 9 * kGrid}; }
};

class JobsPanel : public Panel {
 public:
  JobsPanel(Session& session, const PanelInfo& info, QWidget* parent) : Panel(session, info, parent) {
    body()->setContentsMargins(0, 0, 0, 0);
    splitter_ = new LowSplitter(Qt::Horizontal, this);
    makeTable();
    makeLog();
    splitter_->setStretchFactor(0, 3);
    splitter_->setStretchFactor(1, 2);
    splitter_->setSizes({840, 440});
    body()->addWidget(splitter_);
    poll_.setInterval(kPollMs);
    connect(&poll_, &QTimer::timeout, this, [this] { isVisible() ? refresh() : poll_.stop(); });
    connect(&session, &Session::jobsChanged, this, [this] { scheduleRefresh(); });
    connect(&session, &Session::problem, this, [this](const QString&, const QString& sentence) { write(tr("Problem: %1").arg(sentence)); });
    connect(&session, &Session::notice, this, [this](const QString& sentence) { write(sentence); });
    connect(&session, &Session::runStarted, this,
            [this](qint64, const QString& analysis, int slot) { write(tr("%1 started").arg(nameOf(analysis, slot))); });
    connect(&session, &Session::runFinished, this, [this](qint64, const QString& analysis, int slot, const RunViewPtr& run) {
      QString text = tr("%1 finished").arg(nameOf(analysis, slot));
      if (run->record.id != 0) text += tr(": run %1").arg(run->record.id);
      for (const std::string& w : run->result.warnings) text += QStringLiteral("; ") + labelText(w, 300);
      write(text);
    });
    connect(&session, &Session::runFailed, this, [this](qint64, const QString& analysis, int slot, const QString& sentence, bool) {
      write(nameOf(analysis, slot) + QStringLiteral(": ") + sentence);
    });
  }

  QByteArray saveState() const override { return splitter_->saveState(); }
  void restoreState(const QByteArray& state) override { splitter_->restoreState(state); }

 protected:
  void refresh() override {
    const std::vector<JobSnapshot> jobs = session().jobs();
    model_->setJobs(jobs);
    const bool active = std::any_of(jobs.begin(), jobs.end(), [](const JobSnapshot& j) {
      return j.state == JobState::kQueued || j.state == JobState::kRunning;
    });
    active ? poll_.start() : poll_.stop();
    stack_->setCurrentIndex(model_->rowCount() == 0 ? 0 : 1);
  }

  bool eventFilter(QObject* object, QEvent* event) override {
    if (object == table_ && event->type() == QEvent::KeyPress) {
      auto* key = static_cast<QKeyEvent*>(event);
      if (key->key() == Qt::Key_Delete) {
        for (const QModelIndex& i : table_->selectionModel()->selectedRows()) cancel(i);
        return true;
      }
      if (key->matches(QKeySequence::Copy)) {
        copyRows();
        return true;
      }
    }
    return Panel::eventFilter(object, event);
  }

 private:
  void makeTable() {
    model_ = new JobTable(this);
    stack_ = new QStackedWidget(splitter_);
    auto* none = new QLabel(tr("Nothing has run yet. What you start is listed here, and can be cancelled."), stack_);
    none->setProperty("role", QStringLiteral("muted"));
    none->setAlignment(Qt::AlignCenter);
    none->setWordWrap(true);
    none->setBackgroundRole(QPalette::Base);
    none->setAutoFillBackground(true);
    stack_->addWidget(none);
    table_ = new QTableView(stack_);
    table_->setObjectName(QStringLiteral("jobs"));
    table_->setAccessibleName(tr("Jobs"));
    table_->setModel(model_);
    table_->setItemDelegate(new JobDelegate(table_));
    table_->setSelectionBehavior(QAbstractItemView::SelectRows);
    table_->setShowGrid(false);
    table_->setWordWrap(false);
    table_->setMouseTracking(true);
    table_->setTabKeyNavigation(false);
    table_->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    table_->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    table_->verticalHeader()->hide();
    table_->verticalHeader()->setDefaultSectionSize(table_->fontMetrics().height() + kGrid);
    QHeaderView* header = table_->horizontalHeader();
    header->setHighlightSections(false);
    header->setMinimumSectionSize(5 * kGrid);
    header->setMaximumSectionSize(36 * kGrid);
    header->setSectionResizeMode(JobTable::kTitle, QHeaderView::ResizeToContents);
    header->setSectionResizeMode(JobTable::kWhat, QHeaderView::Stretch);
    const QFontMetrics m = table_->fontMetrics();
    const auto fix = [&](int column, const QString& widest) { header->resizeSection(column, m.horizontalAdvance(widest) + 3 * kGrid); };
    fix(JobTable::kState, QStringLiteral("cancelled 99 %"));
    fix(JobTable::kElapsed, QStringLiteral("59 min 59 s"));
    fix(JobTable::kLeft, QStringLiteral("59 min 5"));
    fix(JobTable::kLane, QStringLiteral("cuda:0"));
    fix(JobTable::kCancel, tr("Cancel"));
    table_->installEventFilter(this);
    stack_->addWidget(table_);
    splitter_->addWidget(stack_);
    connect(table_, &QTableView::clicked, this, [this](const QModelIndex& index) {
      if (index.column() == JobTable::kCancel) cancel(index);
    });
  }

  void makeLog() {
    auto* right = new QWidget(splitter_);
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(0);
    auto* row = new QHBoxLayout;
    row->setContentsMargins(kGrid, 0, kGrid / 2, 0);
    auto* heading = new QLabel(tr("Log"), right);
    heading->setProperty("role", QStringLiteral("muted"));
    auto* copy = new QToolButton(right);
    copy->setObjectName(QStringLiteral("copy_log"));
    copy->setText(tr("Copy"));
    copy->setToolTip(tr("Copy the whole log"));
    copy->setFocusPolicy(Qt::StrongFocus);
    row->addWidget(heading, 1);
    row->addWidget(copy);
    column->addLayout(row);
    log_ = new QPlainTextEdit(right);
    log_->setObjectName(QStringLiteral("log"));
    log_->setAccessibleName(tr("Log"));
    log_->setReadOnly(true);
    log_->setFrameShape(QFrame::NoFrame);
    log_->document()->setDocumentMargin(kGrid);
    log_->setMaximumBlockCount(kLogLines);
    log_->setTabChangesFocus(true);
    log_->setWordWrapMode(QTextOption::WrapAtWordBoundaryOrAnywhere);
    log_->setPlaceholderText(tr("What happens is noted here with its time."));
    column->addWidget(log_, 1);
    splitter_->addWidget(right);
    connect(copy, &QToolButton::clicked, this, [this] { QGuiApplication::clipboard()->setText(log_->toPlainText()); });
  }

  QString nameOf(const QString& analysis, int slot) const {
    const app::AnalysisFacts* a = session().findAnalysis(analysis);
    QString name = a ? labelText(a->info.title, 120) : plainLine(analysis, 120);
    if (slot >= 0 && slot < Session::kSlots && session().model(slot))
      name += QStringLiteral(" · ") + labelText(session().model(slot)->facts().name, 80);
    return name;
  }

  void write(const QString& sentence) {
    log_->appendPlainText(QTime::currentTime().toString(QStringLiteral("HH:mm:ss")) + QStringLiteral("  ") + plainLine(sentence, 1000));
  }

  void cancel(const QModelIndex& index) {
    const JobSnapshot* job = model_->job(index);
    if (job && index.data(JobTable::kActiveRole).toBool()) session().cancel(job->id);
  }

  void copyRows() {
    QStringList lines;
    for (const QModelIndex& i : table_->selectionModel()->selectedRows()) {
      QStringList cells;
      for (int c = 0; c < JobTable::kCancel; ++c) cells << i.siblingAtColumn(c).data().toString();
      lines << cells.join(QLatin1Char('\t'));
    }
    QGuiApplication::clipboard()->setText(lines.join(QLatin1Char('\n')));
  }

  LowSplitter* splitter_;
  QStackedWidget* stack_;
  QTableView* table_;
  JobTable* model_;
  QPlainTextEdit* log_;
  QTimer poll_;
};

}  // namespace
}  // namespace microtome::desktop

namespace microtome::panels {

void register_jobs(Registry& registry) {
  using namespace desktop;
  const PanelInfo info{QStringLiteral("jobs"),
                       QObject::tr("Jobs"),
                       QObject::tr("What runs, how far it is and how long it takes still; cancel; the log."),
                       PanelArea::kBottom,
                       0,
                       QStringLiteral("Ctrl+B")};
  registry.add({info, [info](Session& session, QWidget* parent) { return new JobsPanel(session, info, parent); }});
}

}  // namespace microtome::panels
