/* A run is a folder; every stage has its own inside, OUT/STAGE. Its record says what it was made from,
 * OUT/STAGE/stage.json:
 *
 *     {"version":2,"settings":"<hash>","inputs":"<hash>"}
 *
 * A run folder of another version is refused as a whole. */
#ifndef CM3_TRAIN_RUN_FOLDER_H
#define CM3_TRAIN_RUN_FOLDER_H

#include "core/file.h"
#include "core/hash.h"
#include "train/recipe.h"

enum { CM3_RUN_VERSION = 2 };

typedef struct cm3_stage_record {
    cm3_hash settings; /* of what changes results in the sections that the stage reads (cm3_config_hash) */
    cm3_hash inputs;   /* of the results of other stages that it reads */
} cm3_stage_record;

/* OUT/STAGE/FILE, or OUT/STAGE if `file` is NULL. */
cm3_path cm3_stage_path(const cm3_recipe *recipe, const char *stage, const char *file);

/* The newest checkpoint of a stage. CM3_ERR_NOT_FOUND if there is none, and names the command. */
cm3_status cm3_stage_checkpoint(const cm3_recipe *recipe, const char *stage, cm3_path *checkpoint);

/* CM3_ERR_NOT_FOUND if the stage has left none, CM3_ERR_FORMAT if it is of another version or damaged. */
cm3_status cm3_stage_record_read(const char *out, const char *stage, cm3_stage_record *record);
/* In the stage's folder, which must be there. */
cm3_status cm3_stage_record_write(const char *out, const char *stage, const cm3_stage_record *record);
/* Before the results that it describes are overwritten. */
cm3_status cm3_stage_record_remove(const char *out, const char *stage);

#endif
