/* The cost of a recipe, as text or JSON. */
#include "core/json.h"
#include "tools/session.h"
#include "train/plan.h"

static void put_plan(cm3_json_writer *w, const cm3_stage_plan *p) {
    cm3_json_put_int(w, "parameters", p->parameters);
    cm3_json_put_int(w, "items_per_step", p->items_per_step);
    cm3_json_put_double(w, "flops_per_step", p->flops_per_step);
    cm3_json_put_double(w, "recompute_flops", p->recompute_flops);
    cm3_json_put_double(w, "peak_bytes", p->peak_bytes);
    cm3_json_put_double(w, "parameter_bytes", p->parameter_bytes);
    cm3_json_put_double(w, "gradient_bytes", p->gradient_bytes);
    cm3_json_put_double(w, "optimizer_bytes", p->optimizer_bytes);
    cm3_json_put_double(w, "step_bytes", p->step_bytes);
    cm3_json_put_double(w, "exchanged_bytes", p->exchanged_bytes);
    cm3_json_put_double(w, "reduced_bytes_per_step", p->reduced_bytes_per_step);
    cm3_json_put_double(w, "gpu_hours", p->gpu_hours);
    cm3_json_put_double(w, "days", p->days);
}

static void print_stage(const char *title, const char *device, const char *type, const char *unit,
                        const cm3_stage_plan *p, int64_t steps, int ranks) {
    printf("%s, on %s in %s\n", title, device, type);
    printf("  parameters            %.4g M\n", (double)p->parameters / 1e6);
    printf("  steps                 %lld of %lld %s\n", (long long)steps, (long long)p->items_per_step, unit);
    printf("  %-21s %.4g\n", unit, (double)p->items_per_step * (double)steps);
    printf("  FLOPs                 %.4g per step, %.4g in all", p->flops_per_step, p->flops_per_step * (double)steps);
    if (p->recompute_flops > 0) printf(" (+ %.0f %% recomputation)", 100 * p->recompute_flops / p->flops_per_step);
    printf("\n  memory of a rank      %.1f MiB: parameters %.1f, gradients %.1f, optimizer %.1f, step %.1f",
           p->peak_bytes / 0x1p20, p->parameter_bytes / 0x1p20, p->gradient_bytes / 0x1p20, p->optimizer_bytes / 0x1p20,
           p->step_bytes / 0x1p20);
    if (p->exchanged_bytes > 0) printf("; gradients and step share %.1f", p->exchanged_bytes / 0x1p20);
    printf("\n  communication         %.1f MiB per step sent by each of %d ranks\n", p->reduced_bytes_per_step / 0x1p20,
           ranks);
}

cm3_status cm3_print_plan(const cm3_recipe *recipe, int ranks, bool json) {
    cm3_stage_plan model, images;
    cm3_device device;
    const int choice = recipe->run.device == CM3_DEVICE_AUTO ? recipe->cluster.device : recipe->run.device;
    cm3_device_count((cm3_device_choice)choice, &device);
    CM3_TRY(cm3_recipe_check_compute(recipe, &device));
    CM3_TRY(cm3_plan_pretrain(recipe, device.backend, ranks, &model));
    const char *type = cm3_dtype_name(cm3_recipe_compute(recipe, device.backend));
    /* The paper's recipes take a released image tokenizer as given; its cost is that of one GPU's training. */
    cm3_batch_share share;
    const bool shared = cm3_stage_share(recipe, cm3_stage_find("image-tokenizer"), ranks, &share) == CM3_OK;
    const int image_ranks = shared ? ranks : 1;
    CM3_TRY(cm3_plan_image_tokenizer(recipe, device.backend, image_ranks, &images));
    if (json) {
        cm3_json_writer w = cm3_json_writer_on(stdout);
        cm3_json_begin_object(&w, NULL);
        cm3_json_put_int(&w, "ranks", ranks);
        cm3_json_put_string(&w, "device", device.text);
        cm3_json_put_string(&w, "compute", type);
        put_plan(&w, &model);
        cm3_json_begin_object(&w, "image_tokenizer");
        cm3_json_put_int(&w, "ranks", image_ranks);
        put_plan(&w, &images);
        cm3_json_end_object(&w);
        cm3_json_end_object(&w);
        cm3_json_end_line(&w);
        return CM3_OK;
    }
    print_stage("image-tokenizer", device.text, "f32", "images", &images, recipe->image_tokenizer.train.steps,
                image_ranks);
    if (!shared)
        printf("  ranks                 1: its batch is not divisible among %d ranks and their micro-batches\n", ranks);
    print_stage("pretrain", device.text, type, "tokens", &model, recipe->pretrain.train.steps, ranks);
    if (!device.backend->memory->host && model.peak_bytes > recipe->cluster.gpu_memory_gib * 0x1p30)
        printf("  does not fit          a GPU of the cluster has %.4g GiB (cluster.gpu_memory_gib)\n",
               recipe->cluster.gpu_memory_gib);
    printf("  on the cluster        %.4g GPU hours, %.3g days on %lld GPUs of %.0f TFLOP/s at %.0f %% of it\n",
           model.gpu_hours, model.days, (long long)recipe->cluster.gpus, recipe->cluster.gpu_tflops,
           100 * recipe->cluster.mfu);
    return CM3_OK;
}
