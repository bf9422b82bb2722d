#include "app/desktop/panels/prompts/load_row.h"

#include <QSpinBox>

#include "app/desktop/theme/theme.h"
#include "app/desktop/views/flow_layout.h"
#include "app/desktop/views/label_text.h"
#include "core/tasks/task.h"

namespace microtome::desktop {

LoadRow::LoadRow(QWidget* parent) : QWidget(parent) {
  auto* row = new FlowLayout(this, kGrid, kGrid / 2);
  row->setContentsMargins(0, 0, 0, 0);
  tasks_ = new QComboBox(this);
  tasks_->setAccessibleName(tr("Task"));
  tasks_->setMinimumContentsLength(12);
  tasks_->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  for (const TaskInfo& t : task_list()) {
    tasks_->addItem(labelText(t.title, 60), QString::fromStdString(t.name));
    tasks_->setItemData(tasks_->count() - 1, tipText(labelText(t.description, 400)), Qt::ToolTipRole);
  }
  const auto tell = [this] { tasks_->setToolTip(tasks_->currentData(Qt::ToolTipRole).toString()); };
  connect(tasks_, &QComboBox::currentIndexChanged, this, tell);
  tell();
  count_ = new QSpinBox(this);
  count_->setRange(1, 4096);
  count_->setValue(32);
  count_->setAccessibleName(tr("Number of prompts"));
  count_->setToolTip(tr("How many pairs of prompts."));
  templates_ = new QComboBox(this);
  templates_->setAccessibleName(tr("Templates"));
  templates_->addItem(tr("known"), QStringLiteral("known"));
  templates_->addItem(tr("held out"), QStringLiteral("held_out"));
  templates_->setToolTip(
      tr("Sentences: the ones that the shipped models were trained on, or others, for how far it carries."));
  load_ = new QPushButton(tr("Load task"), this);
  load_->setAutoDefault(true);
  file_ = new QPushButton(tr("File…"), this);
  file_->setAutoDefault(true);
  file_->setToolTip(tr("JSON lines: clean, corrupted, answer, wrong_answers."));
  for (QWidget* w : {static_cast<QWidget*>(tasks_), static_cast<QWidget*>(count_), static_cast<QWidget*>(templates_)})
    guardWheel(w);
  for (QWidget* w : {static_cast<QWidget*>(tasks_), static_cast<QWidget*>(count_), static_cast<QWidget*>(templates_),
                     static_cast<QWidget*>(load_), static_cast<QWidget*>(file_)})
    row->addWidget(w);
  connect(load_, &QPushButton::clicked, this, [this] { Q_EMIT taskWanted(source()); });
  connect(file_, &QPushButton::clicked, this, &LoadRow::fileWanted);
}

void LoadRow::setSource(const PromptSource& source) {
  if (source.kind != PromptSource::Kind::kTask) return;
  if (const int i = tasks_->findData(source.task); i >= 0) tasks_->setCurrentIndex(i);
  if (const int i = templates_->findData(source.templates); i >= 0) templates_->setCurrentIndex(i);
  count_->setValue(source.count);
}

PromptSource LoadRow::source() const {
  PromptSource s;
  s.kind = PromptSource::Kind::kTask;
  s.task = tasks_->currentData().toString();
  s.templates = templates_->currentData().toString();
  s.count = count_->value();
  return s;
}

void LoadRow::setTasksPossible(bool possible, const QString& why) {
  load_->setEnabled(possible);
  load_->setToolTip(possible ? tr("Makes pairs of prompts for this task; Ctrl+Z brings back what was here.") : why);
}

}  // namespace microtome::desktop
