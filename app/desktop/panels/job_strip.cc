#include "app/desktop/panels/job_strip.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QProgressBar>
#include <QPushButton>

#include "app/desktop/session/run_facts.h"
#include "app/desktop/theme/theme.h"
#include "app/desktop/views/label_text.h"
#include "app/desktop/views/plain_line.h"

namespace microtome::desktop {

JobStrip::JobStrip(Session& session, QWidget* parent) : QWidget(parent), session_(session) {
  auto* row = new QHBoxLayout(this);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(kGrid);
  text_ = new QLabel(this);
  text_->setTextFormat(Qt::PlainText);
  // A long text is cut and never widens the panel.
  text_->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  bar_ = new QProgressBar(this);
  bar_->setRange(0, 1000);
  bar_->setTextVisible(false);
  bar_->setFixedSize(16 * kGrid, kGrid);
  cancel_ = new QPushButton(tr("Cancel"), this);
  cancel_->setObjectName(QStringLiteral("cancel"));
  cancel_->setToolTip(tr("What was computed is kept; the same run goes on from there"));
  row->addWidget(text_, 1);
  row->addWidget(bar_);
  row->addWidget(cancel_);
  timer_.setInterval(200);
  connect(&timer_, &QTimer::timeout, this, &JobStrip::look);
  connect(&session_, &Session::jobsChanged, this, &JobStrip::look);
  connect(cancel_, &QPushButton::clicked, this, [this] {
    session_.cancel(job_);
    cancel_->setEnabled(false);
  });
  hide();
}

void JobStrip::setJob(qint64 job, const QString& name) {
  job_ = job;
  name_ = name;
  cancel_->setEnabled(true);
  setAccessibleName(tr("Progress of %1").arg(name));
  look();
}

void JobStrip::setCancelText(const QString& text, const QString& tip) {
  cancel_->setText(text);
  cancel_->setToolTip(tip);
}

void JobStrip::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  look();
}

void JobStrip::look() {
  if (job_ == 0) {
    timer_.stop();
    hide();
    return;
  }
  for (const JobSnapshot& job : session_.jobs()) {
    if (job.id != job_) continue;
    if (job.state == JobState::kQueued) {
      text_->setText(tr("%1: waits for its turn").arg(name_));
      bar_->setValue(0);
    } else if (job.state == JobState::kRunning) {
      QString text = tr("%1: running, %2 %").arg(name_).arg(static_cast<int>(job.progress.fraction * 100));
      if (!job.progress.what.empty()) text += QStringLiteral(" · ") + plainLine(QString::fromStdString(job.progress.what), 120);
      if (job.progress.left_s >= 0.5) text += QStringLiteral(" · ") + tr("%1 left").arg(durationText(job.progress.left_s));
      if (!cancel_->isEnabled()) text = tr("%1: stops at its next step").arg(name_);
      text_->setText(text);
      text_->setToolTip(tipText(text));
      bar_->setValue(static_cast<int>(job.progress.fraction * 1000));
    } else {
      break;
    }
    show();
    if (isVisible() && !timer_.isActive()) timer_.start();
    if (!isVisible()) timer_.stop();
    return;
  }
  job_ = 0;
  timer_.stop();
  hide();
}

}  // namespace microtome::desktop
