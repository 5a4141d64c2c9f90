use super::*;

const G: u64 = 1 << 30;

/// GPUs of these kinds and memories, with so many slots each.
fn devices(gpus: &[(&str, u64, usize)], largest: u64) -> Devices {
    let one = |(number, (name, memory, slots)): (usize, &(&str, u64, usize))| GpuSlots {
        gpu: Gpu::example(number as u32, name),
        slots: *slots,
        memory: *memory,
    };
    Devices::new(&gpus.iter().enumerate().map(one).collect::<Vec<_>>(), largest)
}

/// The GPUs of the slots that so many trials get one after another.
fn filled(devices: &Devices, trials: usize, needs: &Needs) -> Vec<Option<u32>> {
    let mut taken = BTreeSet::new();
    let next = |_| {
        let slot = devices.free(&taken, Some((0, needs)))?;
        taken.insert(slot);
        devices.gpu(slot).map(|gpu| gpu.number)
    };
    (0..trials).map(next).collect()
}

#[test]
fn slots_are_a_gpu_each_and_as_many_as_are_asked_for_and_fit() {
    let of = |memory: &[u64], per_device, bytes| {
        let gpus: Vec<(Gpu, u64)> = (0..).zip(memory).map(|(n, memory)| (Gpu::example(n, "A"), *memory)).collect();
        gpu_slots(&gpus, per_device, bytes).iter().map(|one| one.slots).collect::<Vec<_>>()
    };
    assert_eq!(of(&[80 * G; 2], 1, 10 * G), [1, 1]);
    assert_eq!(of(&[80 * G; 2], 4, 10 * G), [4, 4]);
    assert_eq!(of(&[80 * G, 24 * G], 4, 10 * G), [4, 2], "two fit into the smaller one");
    assert_eq!(of(&[80 * G, 24 * G], 4, 30 * G), [2, 1], "one that does not fit shows so itself");
    assert_eq!(of(&[80 * G; 2], 4, 0), [4, 4], "nothing is known");
    assert!(of(&[], 2, G).is_empty());
}

#[test]
fn trials_are_spread_over_all_gpus_before_one_takes_a_second() {
    let any = Needs::default();
    for gpus in [2, 4, 8] {
        let devices = devices(&vec![("A", 80 * G, 2); gpus], 0);
        assert_eq!(devices.slots(), Some(2 * gpus));
        let numbers = (0..gpus as u32).map(Some);
        let expected: Vec<Option<u32>> = numbers.clone().chain(numbers).chain([None]).collect();
        assert_eq!(filled(&devices, 2 * gpus + 1, &any), expected);
    }
    // The second slot of a GPU is taken, both of the other are free.
    assert_eq!(devices(&[("A", G, 2), ("A", G, 2)], 0).free(&BTreeSet::from([3]), Some((0, &any))), Some(2));
}

#[test]
fn on_the_processor_nothing_is_asked() {
    let none = devices(&[], 0);
    assert_eq!((none.slots(), none.gpu(1), none.is_out(1)), (None, None, false));
    assert!(none.has_place(&Needs { memory: G, kind: Some("A".to_owned()) }));
}

#[test]
fn a_trial_gets_a_gpu_that_it_fits_into_and_of_the_kind_that_it_was_begun_on() {
    let mut devices = devices(&[("big", 80 * G, 1), ("small", 24 * G, 1)], 30 * G);
    assert!(!devices.are_alike());
    let needs = |memory, kind: Option<&str>| Needs { memory, kind: kind.map(str::to_owned) };
    for (needs, expected) in [
        (needs(G, None), vec![Some(1), Some(0), None]),
        (needs(30 * G, None), vec![Some(0), None, None]),
        (needs(100 * G, None), vec![Some(1), Some(0), None]),
        (needs(G, Some("big")), vec![Some(0), None, None]),
        (needs(G, Some("gone")), vec![Some(1), Some(0), None]),
    ] {
        assert_eq!(filled(&devices, 3, &needs), expected, "{needs:?}");
    }
    lose(&mut devices, 1);
    assert!(!devices.has_place(&needs(30 * G, None)) && devices.has_place(&needs(G, None)));
    assert!(!devices.has_place(&needs(G, Some("big"))), "it waits for its kind");
}

/// The driver loses the GPU of a slot; the number of the GPU where that leaves it out.
fn lose(devices: &mut Devices, slot: u32) -> Option<u32> {
    devices.failed(slot, Fault { trial: 0, shape: 0, is_lost: true }, true).map(|gpu| gpu.number)
}

/// How a trial of a shape ended in a slot: by a fault of the device, or otherwise.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// Slot, trial, shape.
    Fault(u32, usize, usize),
    /// Slot, shape.
    Well(u32, usize),
}
use Ends::{Fault as F, Well as W};

/// After which of these ends which GPU is left out.
fn left_out(gpus: usize, others_wait: bool, course: &[Ends]) -> Vec<(usize, u32)> {
    let mut devices = devices(&vec![("A", G, 1); gpus], 0);
    let mut out = Vec::new();
    for (place, end) in course.iter().enumerate() {
        match *end {
            F(slot, trial, shape) => {
                let fault = Fault { trial, shape, is_lost: false };
                out.extend(devices.failed(slot, fault, others_wait).map(|gpu| (place, gpu.number)));
            }
            W(slot, shape) => devices.went_well(slot, shape),
        }
    }
    out
}

#[test]
fn a_gpu_is_left_out_where_two_trials_fail_on_it_in_a_row_and_not_on_all_others() {
    for (gpus, course, expected) in [
        (1, vec![F(1, 0, 0), F(1, 1, 1)], vec![(1, 0)]),
        (1, vec![F(1, 0, 0), F(1, 0, 0), F(1, 0, 0)], vec![]),
        (1, vec![F(1, 0, 0), W(1, 0), F(1, 1, 1)], vec![]),
        (2, vec![F(2, 0, 0), W(1, 9), F(2, 1, 1), W(1, 9), F(2, 2, 2)], vec![(2, 1)]),
        (2, vec![F(1, 0, 0), F(2, 1, 1), F(1, 2, 2), F(2, 3, 3)], vec![]),
        (2, vec![F(1, 0, 0), F(2, 1, 1), F(1, 2, 2), F(1, 3, 3)], vec![(3, 0)]),
        (2, vec![F(1, 0, 0), F(2, 0, 0), W(2, 0), F(1, 1, 1)], vec![(3, 0)]),
        // Two of eight fail in turn, and the other six do not.
        (8, vec![F(8, 0, 0), F(7, 1, 1), F(8, 2, 2), F(7, 3, 3)], vec![(2, 7), (3, 6)]),
    ] {
        assert_eq!(left_out(gpus, true, &course), expected, "{course:?}");
    }
}

#[test]
fn one_shape_that_fails_takes_one_gpu_with_it_and_not_all() {
    // Trials 0 and 1 of the shape fail wherever they are.
    let course = vec![F(8, 0, 5), F(8, 1, 5), F(7, 0, 5), F(7, 1, 5), F(6, 0, 5), F(6, 1, 5), F(6, 2, 5)];
    assert_eq!(left_out(8, true, &course), [(1, 7)]);
    // One of it has ended well: the GPUs are broken.
    let course = vec![F(8, 0, 5), F(8, 1, 5), W(1, 5), F(7, 0, 5), F(7, 1, 5)];
    assert_eq!(left_out(8, true, &course), [(1, 7), (4, 6)]);
}

#[test]
fn the_last_gpu_is_not_left_out_by_one_shape_while_another_waits_for_it() {
    let one_shape = [F(1, 0, 5), F(1, 1, 5), F(1, 2, 5)];
    assert_eq!(left_out(1, true, &one_shape), []);
    assert_eq!(left_out(1, false, &one_shape), [(1, 0)], "no other is stopped by it");
    assert_eq!(left_out(1, false, &[&[W(1, 6)], &one_shape[..]].concat()), [], "another shape works there");
    let two_shapes = [F(1, 0, 5), F(1, 1, 5), F(1, 2, 6)];
    assert_eq!(left_out(1, true, &two_shapes), [(2, 0)]);
    // Also where it is the last of two, and the shape has ended well on it.
    let last = [F(2, 0, 5), F(2, 1, 5), W(1, 5), F(1, 2, 5), F(1, 3, 5), F(1, 4, 6)];
    assert_eq!(left_out(2, true, &last), [(1, 1), (5, 0)]);
}

#[test]
fn a_trial_that_failed_on_a_gpu_is_tried_on_another_one_first() {
    let mut devices = devices(&[("A", G, 1); 2], 0);
    let any = Needs::default();
    let free = |devices: &Devices, trial, taken: &[u32]| devices.free(&taken.iter().copied().collect(), Some((trial, &any)));
    devices.failed(1, Fault { trial: 0, shape: 0, is_lost: false }, true);
    assert!(devices.differ_for(0) && !devices.differ_for(1));
    assert_eq!((free(&devices, 0, &[]), free(&devices, 1, &[])), (Some(2), Some(1)));
    assert_eq!(free(&devices, 0, &[2]), None, "it waits for the other one");
    devices.went_well(1, 1);
    assert_eq!(free(&devices, 0, &[]), Some(1), "another trial has ended well there since");
    for slot in [1, 2] {
        devices.failed(slot, Fault { trial: 0, shape: 0, is_lost: false }, true);
    }
    assert_eq!(free(&devices, 0, &[]), Some(1), "it failed on both");
    devices.went_well(2, 1);
    lose(&mut devices, 2);
    assert_eq!(free(&devices, 0, &[]), Some(1), "there is no other");
}

#[test]
fn a_lost_gpu_is_left_out_at_once_and_once() {
    let mut devices = devices(&[("A", G, 2), ("A", G, 2)], 0);
    assert_eq!(lose(&mut devices, 3), Some(0));
    assert!(devices.is_out(1) && devices.is_out(3) && !devices.is_out(2));
    assert_eq!(lose(&mut devices, 1), None, "its other slot");
    assert_eq!((devices.left(), devices.free(&BTreeSet::new(), None)), (1, Some(2)));
    lose(&mut devices, 2);
    assert_eq!((devices.left(), devices.are_alike(), devices.has_place(&Needs::default())), (0, false, false));
}

#[test]
fn a_gpu_in_whose_slots_workers_are_that_cannot_be_killed_has_no_place() {
    let mut devices = devices(&[("big", 80 * G, 1), ("small", 24 * G, 1)], 30 * G);
    let large = Needs { memory: 30 * G, kind: None };
    devices.set_stuck(1, true);
    assert!(!devices.has_place(&large), "nothing waits for it");
    devices.set_stuck(1, false);
    assert!(devices.has_place(&large), "it has ended after all");
}

#[test]
fn the_next_larger_gpu_is_one_with_a_good_deal_more_memory() {
    let mut devices = devices(&[("A", 24 * G, 1), ("A", 25 * G, 1), ("B", 80 * G, 1), ("B", 48 * G, 1)], 0);
    assert_eq!([1, 2, 3].map(|slot| devices.more_memory(slot)), [Some(48 * G), Some(48 * G), None]);
}
