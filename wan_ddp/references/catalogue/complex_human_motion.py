"""Complex human motion: 8 clips of a jointed figure."""

# ruff: noqa: E501 - a prompt is one line, as it is in the manifest

from wan_ddp.references.clip import Clip, Performance

CATEGORY = "complex_human_motion"

CLIPS = (
    Clip(
        CATEGORY,
        "person_walks",
        Performance("park", "walk", shirt="#c8452f", trousers="#2f4a78"),
        prompts=(
            "An old fisherman in a yellow raincoat walks along a wooden pier from left to right, grey sea behind him, seen from the side.",
            "A businesswoman in a navy suit strides across a bright marble lobby from left to right, arms swinging, side view, static camera.",
            "一位身着汉服的女子沿着湖边石径从左向右缓步走过，衣袖轻轻摆动，侧面全身镜头。",
            "A friendly silver robot walks with even steps from the left to the right of the picture through a greenhouse full of palms.",
            "宇航员穿着白色航天服在火星表面从左走到右，步伐稳健，身后是红色的山丘，固定机位。",
        ),
    ),
    Clip(
        CATEGORY,
        "人物挥手",
        Performance("studio", "wave", shirt="#2f7f8f", trousers="#4a4038"),
        prompts=(
            "一个穿着红色羽绒服的小男孩站在雪地里，面对镜头抬起一只手臂来回挥手，然后放下。",
            "A gardener in dungarees stands among sunflowers, raises one arm and waves to and fro at the camera, then lowers it again.",
            "A ship's captain on the deck of a ferry lifts one hand high and waves goodbye, facing the viewer, gulls in the sky.",
            "A panda mascot at the entrance of a theme park greets the visitors: it stands still, raises one arm and waves several times.",
            "火车站台上，一位老奶奶面向镜头举起手臂左右挥动，向远行的孙女告别，晨光柔和。",
        ),
    ),
    Clip(
        CATEGORY,
        "person_jumps",
        Performance("beach", "jump", shirt="#e0a030", trousers="#35506b"),
        prompts=(
            "A boy in swimming trunks on a wooden jetty crouches, swings his arms up and jumps straight into the air twice, landing softly each time.",
            "An astronaut on the moon bends the knees and leaps up twice with raised arms, dust rising around the boots.",
            "A cheerleader in a blue uniform crouches and springs up on the spot, arms thrown high, and then once more, on a green pitch.",
            "一位篮球运动员在露天球场上屈膝下蹲，双臂上摆用力跳起，落地后又跳一次，背景是城市高楼。",
            "A knight in light armour in a castle yard crouches low and jumps up twice, arms overhead, the armour glinting in the sun.",
        ),
    ),
    Clip(
        CATEGORY,
        "原地转身",
        Performance("hall", "turn", shirt="#b8508a", trousers="#3c3a4c"),
        prompts=(
            "舞台中央，一位身穿长裙的舞者双臂微微张开，在原地迈着小步缓缓转身一圈，聚光灯洒下。",
            "A fashion model in a long emerald coat turns once all the way around on the spot with small steps, grey studio background.",
            "A wooden puppet in a toy shop turns slowly in place through a full circle, its arms held slightly away from its sides.",
            "A wizard in a starry robe in a candlelit tower turns round on the spot, showing his back and then facing us again.",
            "一位穿着银色盔甲的骑士站在城门前，原地缓慢转身一周，先露出背影，再重新面对镜头。",
        ),
    ),
    Clip(
        CATEGORY,
        "原地高抬腿",
        Performance("gym", "high_knees", shirt="#3f8f55", trousers="#27303f"),
        prompts=(
            "健身房的落地窗前，一位穿运动背心的女生原地高抬腿跑，双臂有力摆动，阳光照在木地板上。",
            "A soldier in camouflage runs on the spot on a muddy training ground, knees lifted to hip height in turn, arms pumping.",
            "A robot athlete with carbon-fibre legs runs in place on a stadium track, high knees, quick rhythm, static camera.",
            "An elderly man in a red tracksuit exercises in a park at dawn, running on the spot and lifting his knees high one after the other.",
            "马戏团的圆形舞台上，一个卷发小丑原地高抬腿奔跑，屈臂前后摆动。",
        ),
    ),
    Clip(
        CATEGORY,
        "jumping_jacks",
        Performance("snowfield", "jumping_jack", shirt="#d86a3a", trousers="#3a4f6f"),
        prompts=(
            "A girl in a yellow jumper does jumping jacks in a meadow, legs apart and arms overhead, then together again, facing the camera.",
            "A firefighter in full gear does jumping jacks in front of a red fire engine, the rhythm steady, static front view.",
            "A polar explorer in a thick orange parka keeps warm on the ice with jumping jacks, arms swinging above the head and back down.",
            "海边沙滩上，一位穿着泳装的青年面对镜头做开合跳，双脚跳开时双臂举过头顶，再跳回并拢。",
            "操场上，一位戴红领巾的小学生面向镜头做开合跳，手脚同时打开又并拢，节奏整齐。",
        ),
    ),
    Clip(
        CATEGORY,
        "person_squats",
        Performance("parquet", "squat", shirt="#5a6fb0", trousers="#2d2d35"),
        prompts=(
            "A woman in grey sportswear does three deep squats on a rooftop terrace at sunrise, arms stretched out in front of her.",
            "清晨的公园草坪上，一位白发老人双臂前伸，缓慢地做了三次深蹲，动作标准。",
            "A sumo wrestler in a training hall lowers himself into a deep squat and rises again, three times, arms reaching forward.",
            "A carpenter in an apron demonstrates squats in his workshop, knees bending deeply, arms straight ahead for balance.",
            "身穿白色道服的少年在木地板道场中双臂平举向前，连续下蹲起立三次，神情专注。",
        ),
    ),
    Clip(
        CATEGORY,
        "人物踢腿",
        Performance("sunset", "kick", shirt="#8a3f3f", trousers="#28303c"),
        prompts=(
            "少林寺的练武场上，一位年轻武僧站稳左腿，右腿后摆后向前高高踢起，连踢两次，双臂张开保持平衡。",
            "A footballer in a white kit on a floodlit pitch swings his right leg back and kicks high in front of him, twice.",
            "A martial artist in a black uniform on a mountain terrace performs two high front kicks with the right leg, arms out for balance.",
            "A can-can dancer in a frilled red dress kicks one leg high ahead of her on a theatre stage, lowers it and kicks again.",
            "A marble statue in a museum comes to life and swings one leg back and then up in front in a high kick, two times.",
        ),
    ),
)
